"""What else may be in the folder of a run: it is not waited for, not removed, not followed, and one sentence at most."""

import os

import pytest

from dx7data.errors import InputError
from train import baselines, study
from train.loop.folder import check_contents
from train.results import reader
from train.results.writer import Log

FILES = ["metrics.csv", "pictures/loss.png", "samples", "tensorboard", "checkpoints/00000008/ema.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    """Reading one, or writing to it, would take until somebody is at its other end."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is no regular file: remove it"):
        check_contents(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_link_to_itself_is_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} leads to itself: remove this link"):
        check_contents(tmp_path)


@pytest.mark.parametrize("name", ["compare.html", "baselines.json", "s4", "table.md"])
def test_a_study_follows_no_link_out_of_its_folder(tmp_path, capsys, name):
    """It writes pages and starts runs there, of which some may be another person's."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / name).symlink_to(tmp_path / "elsewhere")
    assert study.main(["--shards", "shards", "--out", str(tmp_path / "study"), "--models", "s4"]) == 2
    assert f"{name} leads out of {tmp_path / 'study'}" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["metrics.csv", "samples/00000008/0-source.wav", "baselines.json", "config.json"])
@pytest.mark.parametrize("kind", ["a pipe", "a link to /dev/zero", "a terabyte"])
def test_nothing_else_is_read(tmp_path, name, kind):
    """By `train.compare`, `train.study` and `train.convert`, which read the runs of others."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a terabyte":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.symlink_to("/dev/zero")
    read = {".csv": reader.read_table, ".wav": reader.read_clip}.get(path.suffix, baselines.read)
    with pytest.raises(InputError, match=r"is no regular file|is a link|bytes, more than the") as error:
        reader.read_config(tmp_path) if name == "config.json" else read(path)
    assert str(path) in str(error.value) or (name == "baselines.json" and "/dev/zero is no regular" in str(error.value))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,,0.1,5", "a row has no loss_bits"),
        ("1,2.5,inf,5", "a row has step_seconds inf"),
        ("1,2.5,0.1,1e300", "a row has tokens_per_second 1e300"),
        ("1,2.5,-1,5", "a row has step_seconds -1"),
        ("1,2.5,nan,5", "a row has step_seconds nan"),
        ("1,x,0.1,5", "could not convert"),
    ],
)
def test_cells_that_no_run_writes(tmp_path, row, words):
    """A loss may be infinite, where a run diverged; what would be counted with, or what must be there, may not."""
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,loss_bits,step_seconds,tokens_per_second\n1,inf,,\n2,nan,0.1,5\n{row}\n")
    with pytest.raises(InputError, match=words):
        reader.read_table(path)


def test_baselines_that_are_nested(tmp_path):
    (tmp_path / "baselines.json").write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match=r"baselines.json can't be read"):
        baselines.read(tmp_path / "baselines.json")


def test_samples_of_a_person_stay(tmp_path):
    """Going on after step 4: only what an evaluation has left of later steps is removed."""
    own = [f"samples/00000008/{i}-{kind}.wav" for i in range(2) for kind in ("source", "target", "generated")]
    others = ["samples/00000004/0-source.wav", "samples/00000009/notes.txt", "samples/00000012-best/0-source.wav"]
    others += ["samples/9/0-source.wav", "samples/0notes/a.wav", "samples/00000010"]
    for name in own + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    Log(tmp_path, 4).close()
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("samples/**/*") if path.is_file()]
    assert sorted(left) == sorted(others)


@pytest.mark.parametrize("data", [b"step,\xff\xfe\n1,2\n", b"step,loss\n" + b"9" * 5000 + b",1\n"])
def test_a_table_of_noise_is_one_sentence(tmp_path, data):
    (tmp_path / "metrics.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"metrics.csv .*take it from a backup, or train again"):
        Log(tmp_path, 4)


def test_tables_of_a_person_stay_as_they_are(tmp_path):
    """Rows of the run itself that are later than the step from which it goes on are taken out."""
    theirs = {"listening.csv": "clip,score\n500,3\n", "notes.csv": "text\nfine\n", "one.csv": "no line end"}
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "validation.csv").write_text("step,set,bits\n100,val,2\n200,val,1\n")
    Log(tmp_path, 100).close()
    assert (tmp_path / "validation.csv").read_text() == "step,set,bits\n100,val,2\n"
    assert {name: (tmp_path / name).read_text() for name in theirs} == theirs
