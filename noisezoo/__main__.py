"""`python -m noisezoo` is the command line."""

from noisezoo.cli import main

if __name__ == "__main__":
    main()
