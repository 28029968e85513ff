"""Train a network on JAFFE, leaving one person out: python main_jaffe.py --help."""

from trainers.experiment import default_path, main

if __name__ == "__main__":
    main(default_path("jaffe_config.json"))
