"""`python -m concordat`: the same as the console script."""

from concordat.cli import main

if __name__ == "__main__":
    main()
