"""Functions that test_cli.py names by their dotted paths."""


def predict(module, batch):
    return module(*batch[:2])


def tokens(ids):
    return [["none", "one", "two", "mask"][number] for number in ids]
