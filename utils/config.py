"""The settings of one run: a typed, frozen object whose spelling is a flat JSON file."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError, closest
from utils.files import read_small_text
from utils.settings import base_type, check_value, kind_of, schema_entry, setting, short


@dataclass(frozen=True)
class Config:
    """Everything that changes a number. What a file leaves out has the value of the published recipe."""

    # what is learned from
    dataset: str = setting("fer2013", "which data set", choices=("fer2013", "jaffe", "ckplus", "folder", "sample"))
    data_path: str = setting("saved/data/fer2013", "folder or file that holds the data set")
    crop: str = setting("none", "jaffe: the whole image, or the face in one fixed box", choices=("none", "box"))
    taxonomy: str = setting(
        "own",
        "classes: the set's own; FER2013's seven, in its order; or its own without contempt",
        choices=("own", "fer2013", "no_contempt"),
    )
    label_source: str = setting(
        "own",
        "fer2013: its own labels, FER+ labels, in training the distribution of the FER+ votes, or its own labels and "
        "in training a blend of them with that distribution",
        choices=("own", "ferplus", "ferplus_soft", "ferplus_blend"),
    )
    ferplus_weight: float = setting(
        0.5, "ferplus_blend: share of the target that is FER+'s, where it has votes on the classes", least=0, most=1
    )
    ferplus_path: str = setting("saved/data/ferplus", "folder or file that holds the FER+ votes")
    ferplus_policy: str = setting(
        "plurality",
        "plurality: most votes win, dropped where contempt, unknown or NF wins; "
        "majority: single votes do not count, dropped without more than half",
        choices=("plurality", "majority"),
    )
    ferplus_parts: str = setting(
        "all",
        "ferplus, ferplus_soft: parts that get FER+ labels; train: the others keep FER2013's",
        choices=("all", "train"),
    )
    protocol: str = setting(
        "official",
        "official: the set's own split; loso: leave one person out; kfold: folds of persons; files: the parts that "
        "the files make; holdout: one seeded split, persons apart where known; random: folds of images, "
        "same people in train and test. fer2013: folds of its training part, for `python gen_corrections.py`",
        choices=("official", "loso", "kfold", "files", "holdout", "random"),
    )
    folds: int = setting(10, "kfold, random, holdout: how many parts the set is dealt into", least=3, most=1000)
    val_subjects: int = setting(1, "loso: persons that validate in each fold", least=1, most=1000)
    split_seed: int = setting(
        0, "how persons or images are dealt out; not the seed of the training", least=0, most=10**9
    )
    drop_copies: str = setting(
        "none",
        "protocol official: leave training images out that are exact copies of a test image (test), of a validation or "
        "a test image (all), or mirror images of one as well (all_mirrored)",
        choices=("none", "test", "all", "all_mirrored"),
    )
    corrections: str = setting(
        "none",
        "protocol official: none, or a file of corrected training labels, as `python gen_corrections.py` writes",
    )
    split_file: str = setting("none", "none, or the splits.json of another run: the parts that this run is forced onto")
    sample_faces: int = setting(6000, "dataset 'sample': how many training faces are drawn", least=70, most=10**6)
    sample_seed: int = setting(0, "dataset 'sample': which faces are drawn", least=0, most=10**9)
    image_size: int = setting(224, "side of the square that the network sees, in pixels", least=16, most=1024)
    start_size: int | None = setting(
        None,
        "progressive resizing: side of the images in the first epoch, growing to image_size over the first "
        "three quarters of the epochs; null: image_size throughout",
        least=16,
        most=1024,
    )
    in_channels: int = setting(3, "channels that the network sees; grey images are repeated", least=1, most=3)
    num_classes: int = setting(7, "number of expressions; must agree with the data set", least=2, most=1000)
    normalize: str = setting(
        "none",
        "none: values in [0, 1]; imagenet: as the network's ImageNet weights expect; per_image: each image by its own",
        choices=("none", "imagenet", "per_image"),
    )

    # the network
    arch: str = setting("alexnet", "network, one of `python -m models`")
    weights: str = setting("none", "initial weights: none, imagenet, or the path of a file")
    init_from: str = setting(
        "none",
        "none, pretrained (what comes with this package), or a run (or its checkpoint file) whose weights this one "
        "begins with; its head by class names",
    )
    freeze_stages: int = setting(0, "first stages of the network that keep their initial weights", least=0, most=1000)
    refit_norms: bool = setting(
        False, "give batch norms the statistics of the training images, and keep what the initial weights compute"
    )
    refit_size: int | None = setting(
        None,
        "with refit_norms: side of the images that it looks at, best that of the weights; null: of the first epoch",
        least=16,
        most=1024,
    )
    freeze_norms: bool = setting(False, "batch norms keep the statistics that the initial weights bring")
    stem: str = setting(
        "default",
        "first layers of a ResNet: 7x7 and pool (imagenet), 3x3 and pool, or 3x3 alone",
        choices=("default", "imagenet", "conv3_pool", "conv3"),
    )
    mask_activation: str = setting(
        "default", "masking networks: how a mask is squashed", choices=("default", "softmax", "sigmoid")
    )
    drop_rate: float | None = setting(
        None, "dropout before the classifier; null: the network's own", least=0, most=0.95
    )

    # the recipe
    optimizer: str = setting("radam", "optimiser", choices=("radam", "sgd", "adamw"))
    lr: float = setting(1e-4, "learning rate; the peak of a one-cycle schedule", above=0, most=100)
    head_lr: float | None = setting(
        None, "learning rate of the last layer, changing like lr; null: lr", above=0, most=100
    )
    min_lr: float = setting(1e-6, "the learning rate never falls below this", least=0, most=1)
    momentum: float = setting(0.9, "momentum of SGD; first beta of RAdam and AdamW", least=0, most=0.9999)
    weight_decay: float = setting(1e-3, "decoupled (RAdam, AdamW) or L2 (SGD) weight decay", least=0, most=10)
    decay_all: bool = setting(True, "decay biases and norm weights too, as published")
    schedule: str = setting(
        "plateau",
        "how the learning rate changes",
        choices=("plateau", "step", "cosine", "onecycle", "constant"),
    )
    plateau_patience: int = setting(2, "plateau: epochs without a rise before lr x 0.1", least=0, most=10**6)
    steplr: int = setting(50, "step: epochs between two steps of lr x 0.1", least=1, most=10**6)
    warmup: float = setting(0.2, "onecycle: share of the training in which lr rises", least=0, most=0.9)
    batch_size: int = setting(
        48,
        "images in a training step; auto: 128, in as many passes as memory wants (micro_batch)",
        least=2,
        most=65536,
        auto=True,
    )
    micro_batch: int | None = setting(
        None,
        "images in one pass of a step, whose gradients are added up; halved when memory runs out; null: all at once",
        least=2,
        most=65536,
    )
    max_epoch_num: int = setting(50, "epochs at most", least=1, most=10**6)
    max_plateau_count: int = setting(8, "stop after so many epochs without a new best; 0: never", least=0, most=10**6)
    weighted_loss: bool = setting(False, "weigh classes by the inverse of their frequency in the training split")
    loss: str = setting(
        "cross_entropy",
        "what is minimised; where labels are wrong: generalised (gce) or symmetric (sce) cross-entropy",
        choices=("cross_entropy", "gce", "sce"),
    )
    gce_q: float = setting(0.7, "gce: near 0 like cross-entropy, 1: mean absolute error", least=0.01, most=1)
    sce_alpha: float = setting(0.1, "sce: weight of the cross-entropy", least=0, most=100)
    sce_beta: float = setting(1.0, "sce: weight of the reverse cross-entropy", least=0, most=100)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes", least=0, most=0.9)
    distil_from: str = setting(
        "none", "none, or the dump of another network, or of an ensemble, for the training part: a teacher"
    )
    distil_weight: float = setting(0.5, "share of the target that is the teacher's", least=0, most=1)
    distil_temperature: float = setting(
        1.0, "what the teacher's logits are divided by; above 1 it is less certain", least=0.1, most=20
    )
    mixup: float = setting(0.0, "alpha of mixup within a batch; 0: off", least=0, most=100)
    cutmix: float = setting(
        0.0, "alpha of cutmix within a batch; 0: off; with mixup, each step draws one of them", least=0, most=100
    )
    ema_decay: float = setting(0.0, "decay of the averaged weights that are judged; 0: off", least=0, most=0.99999)
    grad_clip: float = setting(0.0, "largest norm of the gradient; 0: no limit", least=0, most=10**6)
    sam_rho: float = setting(
        0.0,
        "sharpness-aware steps: by the gradient so far uphill, which takes a second pass; 0: off",
        least=0,
        most=10,
    )
    select_by: str = setting(
        "accuracy",
        "validation metric that chooses the checkpoint",
        choices=("accuracy", "balanced_accuracy", "macro_f1", "loss"),
    )
    seed: int = setting(0, "seed of the initial weights, the order and the augmentation", least=0, most=10**9)

    # augmentation and test-time views
    augment: str = setting(
        "classic",
        "classic: resize, then transform, as published; fast: transform at native size, then resize",
        choices=("none", "classic", "fast"),
    )
    flip: bool = setting(True, "mirror half of the training images")
    flip_mode: str = setting(
        "random",
        "which half: drawn anew in every epoch (random), or drawn once and then the other half in turn (alternate)",
        choices=("random", "alternate"),
    )
    rotation: float = setting(30.0, "largest rotation, in degrees", least=0, most=180)
    shift: float = setting(0.0, "largest shift, as a share of the side", least=0, most=0.5)
    scale: float = setting(0.0, "largest change of scale, as a share", least=0, most=0.9)
    sharp: float = setting(
        0.0,
        "share of the training images that are only mirrored and shifted by whole pixels; rotation, scale and other "
        "shifts blur, and what is judged is not blurred",
        least=0,
        most=1,
    )
    erase: float = setting(0.0, "chance that a random rectangle is blanked", least=0, most=1)
    brightness: float = setting(
        0.0, "most that is added to or taken from all pixels of an image, as a share of the range", least=0, most=1
    )
    contrast: float = setting(0.0, "largest change of an image's contrast, as a share", least=0, most=1)
    blur: float = setting(
        0.0, "largest standard deviation of a Gaussian blur, as a share of the side", least=0, most=0.5
    )
    noise: float = setting(
        0.0, "largest standard deviation of noise from pixel to pixel, as a share of the range", least=0, most=1
    )
    random_changes: int = setting(
        0,
        "how many of rotation, scale, shift, erase, brightness, contrast, blur and noise (those above 0) an image "
        "gets, drawn anew each time (in the manner of RandAugment); 0: all of them",
        least=0,
        most=8,
    )
    judge_test: bool = setting(
        True, "judge the test part when training has ended; false: it stays closed, for trial runs"
    )
    views: int = setting(10, "deterministic views averaged at the end; 1: the clean image only", least=1, most=18)

    # the machine
    device: str = setting("auto", "auto, cpu, cuda, cuda:0, mps ...")
    precision: str = setting(
        "auto", "arithmetic; auto: bf16 where a probe finds it faster", choices=("auto", "fp32", "bf16")
    )
    channels_last: str = setting(
        "auto", "memory format of images and kernels; auto: the faster one", choices=("auto", "on", "off")
    )
    threads: int = setting(
        0,
        "processor threads; 0: as many as a probe finds to pay, of all or of OMP_NUM_THREADS; "
        "for each of several processes an equal share of all",
        least=0,
        most=1024,
    )
    compile: str = setting(
        "off",
        "torch.compile; reduce-overhead: with CUDA graphs. On processors it takes a minute and gains nothing",
        choices=("off", "default", "reduce-overhead"),
    )
    num_workers: int = setting(0, "above 0: a background thread prepares batches ahead", least=0, most=1024)
    distributed: bool = setting(False, "several processes; torchrun starts them, with or without this")
    sync_batchnorm: bool = setting(False, "several processes: batch norm over the images of all of them")

    # where things are written
    model_name: str = setting("run", "second part of a run's name", name=True)
    cache_dir: str = setting("saved/data/cache", "parsed data sets")
    log_dir: str = setting("saved/logs", "TensorBoard and CSV logs, curves and reports")
    checkpoint_dir: str = setting("saved/checkpoints", "best and last checkpoint of each run")
    results_dir: str = setting("saved/results", "dumped predictions")
    figures_dir: str = setting("saved/confusion_matrices", "confusion matrices")
    report_page: bool = setting(True, "write the run's report, a page for the browser, when it has ended")


ANY_SET = "folder"  # the name of every set of the user's own
# What a run resolves or where it lies, rather than what was asked for.
NOT_TYPED = (
    *("device", "channels_last", "data_path", "cache_dir"),
    *("log_dir", "checkpoint_dir", "results_dir", "figures_dir", "report_page"),
)
# A resumed run keeps its settings; only where it runs, in how many passes, and where its data lie may change.
MAY_CHANGE = (
    *("data_path", "cache_dir", "checkpoint_dir"),
    *("device", "threads", "num_workers", "micro_batch", "distributed", "report_page"),
)
FIELDS = {f.name: f for f in dataclasses.fields(Config)}


def load_config(path: str | Path | None, overrides: Iterable[str] = ()) -> Config:
    """Read a JSON file, put ``key=value`` overrides on top, and check every value.

    Raises:
        UserError: naming file, key, value and what would be right, before any data is read.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _checked(_read_json(Path(path)), str(path))
    values |= _checked(_parse_overrides(overrides), "command line")
    return Config(**values)


def config_from_dict(values: Mapping[str, Any], source: str) -> Config:
    """The Config of a checkpoint: ``values`` as `dataclasses.asdict` gave them, checked like a file.

    Raises:
        UserError: a value is not allowed; ``source`` is named in the message.
    """
    return Config(**_checked(values, source))


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an older version, and today's default of those that it had not: to do what was done before."""
    return {name: f.default for name, f in FIELDS.items()} | dict(values)


def differing(one: Mapping[str, Any], other: Mapping[str, Any], free: Iterable[str] = ()) -> list[str]:
    """The settings in which two tables of them, `with_defaults`, differ; `NOT_TYPED` and ``free`` aside."""
    ignored = {*NOT_TYPED, *free}
    one, other = with_defaults(one), with_defaults(other)
    return [key for key in one if key in other and key not in ignored and one[key] != other[key]]


def other_folder(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both read pictures of the user's own, from different places; of other sets that is up to the machine."""
    places = {Path(table["data_path"]).resolve() for table in (one, other)}
    return one["dataset"] == other["dataset"] == ANY_SET and len(places) > 1


def typed(value: Any) -> str:
    """A setting's value as it is typed after ``key=``."""
    return value if isinstance(value, str) else json.dumps(value)


def json_schema() -> dict[str, Any]:
    """The JSON Schema that editors use to complete and check configuration files."""
    properties: dict[str, Any] = {"$schema": {"type": "string"}}
    properties |= {name: schema_entry(f) for name, f in FIELDS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of one run",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _read_json(path: Path) -> dict[str, Any]:
    text = read_small_text(path, most=2**20)

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                raise UserError(f"{path}: setting '{short(key)}' stands twice")
            values[key] = value
        return values

    try:
        values = json.loads(text, object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path}: not valid JSON at {where}: {error.msg.lower()}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; expected one flat object of settings") from None
    except ValueError as error:  # an integer of thousands of digits
        raise UserError(f"{path}: {str(error).split(';')[0].lower()}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected one object of settings in braces; got {kind_of(values)}")
    values.pop("$schema", None)
    return values


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, raw = text.partition("=")
        if not equals:
            raise UserError(f"command line: expected key=value; got '{short(text)}'")
        values[key] = raw
        if key in FIELDS and base_type(FIELDS[key]) is not str:
            try:
                values[key] = json.loads(raw)
            except (ValueError, RecursionError):
                pass  # stays text; the check below says what would be right
    return values


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    return {key: _check(key, value, source) for key, value in values.items()}


def _check(key: str, value: Any, source: str) -> Any:
    if key not in FIELDS:
        key = str(key)  # a checkpoint's table may have keys of any kind
        near = closest(key[:100], FIELDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else "python main_fer.py --help lists all"
        raise UserError(f"{source}: unknown setting '{short(key)}'; {hint}")
    return check_value(FIELDS[key], value, source)


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
