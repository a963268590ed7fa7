"""Data directories damaged in each way that we know, for the tests of validate-data and fix-data."""

from __future__ import annotations

from svtk.prepare.validate import validate_data

SPKS = ("ann", "bob", "cat")


def save(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def lines(path):
    return path.read_text().splitlines()


def found(data, **options):
    """What is wrong: {(file, what): (count, first place)}."""
    problems = validate_data(data, **options).problems
    assert all(problem.mend and len(problem.places) == min(problem.count, 5) for problem in problems)
    return {(p.file, p.what): (p.count, p.places[0]) for p in problems}


def contents(data):
    return {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}


def one(problems, file, what):
    [place] = [place for key, (_, place) in problems.items() if key[0] == file and key[1].startswith(what)]
    return place


def reverse(name):
    def apply(data):
        save(data / name, "".join(f"{line}\n" for line in reversed(lines(data / name))))

    return apply


def append(name, text):
    def apply(data):
        save(data / name, (data / name).read_bytes() + (text if isinstance(text, bytes) else text.encode()))

    return apply


def without(name, number):
    def apply(data):
        kept = lines(data / name)
        del kept[number]
        save(data / name, "".join(f"{line}\n" for line in kept))

    return apply


def put(name, number, text):
    def apply(data):
        changed = lines(data / name)
        changed[number] = text
        save(data / name, "".join(f"{line}\n" for line in changed))

    return apply


def change(name, old, new):
    def apply(data):
        text = (data / name).read_bytes()
        assert old in text
        save(data / name, text.replace(old, new))

    return apply


def remove(name):
    return lambda data: (data / name).unlink()


def bom(name):
    """A byte order mark at the beginning, as Windows' editors write it."""
    return lambda path: (path / name).write_bytes(b"\xef\xbb\xbf" + (path / name).read_bytes())
