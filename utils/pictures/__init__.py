"""Faces in photos and videos: where they are and what they express; `FaceReader` is the one door."""

import os

# Said before OpenCV is loaded: damaged files are reported by us, in one line; a file may not name others to be opened.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")

from utils.pictures.boxes import Box
from utils.pictures.reader import Face, FaceReader, Reading

__all__ = ["Box", "Face", "FaceReader", "Reading"]
