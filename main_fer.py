"""Train a network on FER2013 (or on drawn faces): python main_fer.py --help."""

from trainers.experiment import default_path, main

if __name__ == "__main__":
    main(default_path("fer2013_config.json"))
