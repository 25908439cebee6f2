"""Prints `docs/reference/configuration.md`: `python -m headwater.settings > docs/reference/configuration.md`."""

from headwater.settings.page import page

if __name__ == "__main__":
    print(page(), end="")
