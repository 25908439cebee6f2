"""Prints `docs/configuration.md`: `python -m headwater.settings > docs/configuration.md`."""

from headwater.settings.page import page

if __name__ == "__main__":
    print(page(), end="")
