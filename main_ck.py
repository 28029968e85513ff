"""Train a network on CK+, in folds of persons: python main_ck.py --help."""

from trainers.experiment import default_path, main

if __name__ == "__main__":
    main(default_path("ck_config.json"))
