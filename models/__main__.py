"""Prints every network: parameters, operations of one forward pass, smallest input, CAM layer."""

import torch

from models import count_flops, count_parameters, create_model, list_models, model_info

NUM_CLASSES = 7
IMAGE_SIZE = 224


def main() -> None:
    """Prints the table for a 7-way head and RGB images of 224 pixels; nothing is computed or loaded."""
    print(f"{'name':<24} {'parameters':>12} {'GFLOPs':>8} {'min px':>7}  CAM layer")
    for name in list_models():
        info = model_info(name)
        with torch.device("meta"):
            model = create_model(name, num_classes=NUM_CLASSES)
        gflops = count_flops(model, IMAGE_SIZE) / 1e9
        parameters = count_parameters(model)
        print(f"{name:<24} {parameters:>12,} {gflops:>8.2f} {info.min_size:>7}  {info.cam_layer}")


if __name__ == "__main__":
    main()
