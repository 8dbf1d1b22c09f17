"""`python -m lst_cli` is `lst`."""

from lst_cli.cli.main import main

if __name__ == "__main__":
    main()
