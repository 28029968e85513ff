"""What a network makes of faces before it decides, and those many numbers brought to two."""

import importlib
from types import ModuleType

import numpy as np
from torch import nn

from models import model_info
from utils.config import Config
from utils.datasets.faces import Images
from utils.errors import MachineError, UserError
from utils.explaining.watching import watching
from utils.inference import predict

# How features are brought to two numbers → the package for it; none: numpy does.
PROJECTIONS = {"tsne": "scikit-learn==1.9.1", "umap": "umap-learn==0.5.12", "pca": ""}
_MODULES = {"tsne": "sklearn.manifold", "umap": "umap"}
FEWEST = 4  # faces of which a map can be made
_DIMENSIONS = 50  # that principal components leave of the features first, as both methods' authors do


def features(model: nn.Module, images: Images, config: Config) -> np.ndarray:
    """What the network's last layer, its classifier, is given for each image.

    Args:
        model: maps float32 [B, in_channels, S, S] to logits [B, C]; left as it was.
        images: uint8 [N, H, W] or [N, H, W, 3].
        config: the network's name, image size, channels, normalisation, device.

    Returns:
        float32 [N, D].
    """
    layer = model_info(config.arch).classifier
    with watching(model, layer) as seen:
        predict(model, images, config)
    return np.concatenate([one.input.float().cpu().numpy() for one in seen[layer]])


def projected(points: np.ndarray, method: str) -> np.ndarray:
    """Points of many dimensions in the plane, those that are alike close together.

    Args:
        points: float [N, D].
        method: ``tsne`` (van der Maaten and Hinton, JMLR 9, 2008), ``umap`` (McInnes et al., arXiv 1802.03426) or
            ``pca``, the two directions in which the points differ most; all with fixed seeds.

    Returns:
        float64 [N, 2].

    Raises:
        UserError: fewer than `FEWEST` points.
        MachineError: the package for it is not installed.
    """
    if len(points) < FEWEST:
        raise UserError(f"a map of {len(points)} faces; it takes {FEWEST} or more")
    if method == "pca":
        return _principal(points, 2)
    module = _imported(method)
    few = _principal(points, _DIMENSIONS)
    near = min(30, (len(points) - 1) // 3)
    if method == "tsne":
        mapper = module.TSNE(perplexity=near, init="pca", random_state=0)
    else:
        init = "spectral" if len(points) > _DIMENSIONS else "random"  # the spectrum of a handful is not to be had
        mapper = module.UMAP(n_neighbors=max(2, near // 2), init=init, random_state=0, n_jobs=1)
    return mapper.fit_transform(few).astype(np.float64)


def require(method: str) -> None:
    """Refuse a method whose package is not there, before anything is computed.

    Raises:
        MachineError: with the command that installs it.
    """
    if method in _MODULES:
        _imported(method)


def _imported(method: str) -> ModuleType:
    try:
        return importlib.import_module(_MODULES[method])
    except ImportError:
        package = PROJECTIONS[method]
        name = package.split("==")[0]
        raise MachineError(
            f"--method {method}: needs {name}, which is not installed: pip install {package} (or --method pca)"
        ) from None


def _principal(points: np.ndarray, most: int) -> np.ndarray:
    """float64 [N, most] or as many as there are: the points along the directions in which they differ most."""
    centred = points.astype(np.float64) - points.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])  # else a matter of the machine
    return (left * sizes * np.where(signs == 0, 1, signs))[:, :most]
