"""Networks for facial-expression recognition: images in, logits out."""

from models import attention_resnet, compact, mobilenet, resmasking, resnet, vggface, zoo  # noqa: F401  (they register)
from models.counting import count_flops, count_parameters
from models.errors import ModelError
from models.registry import ModelInfo, check_input_size, create_model, list_models, model_info, pretrained_path
from models.stages import freeze, stages
from models.weights import LoadReport, load_weights

__all__ = [
    "LoadReport",
    "ModelError",
    "ModelInfo",
    "check_input_size",
    "count_flops",
    "count_parameters",
    "create_model",
    "freeze",
    "list_models",
    "load_weights",
    "model_info",
    "pretrained_path",
    "stages",
]
