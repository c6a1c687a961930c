"""Data sets as other people's programs read them: the library datasets, from a folder and from a Hub, and table readers.

The versions of datasets that were tried by hand are in docs/publishing.md; 3.6 alone decodes without torch and FFmpeg.
"""

import json
import os
import subprocess
import sys

import hub_server
import pytest
import webdataset
from torch.utils.data import DataLoader

from dx7data import cli
from dx7data.dataset import folders
from dx7data.plan.plan import Plan

PACKAGES = ["datasets==3.6.0", "soundfile", "librosa", "pandas", "polars", "duckdb"]
OPTIONS = ["--patches", "example", "--samples", "40", "--seconds", "0.1", "--prefix", "bytes", "--pairs", "--workers", "1"]

# Says what each reader found, as JSON: of the folder and of the repository argv names.
DATASETS = """
import json, sys
from datasets import Audio, load_dataset

folder, name, pushed, work = sys.argv[1:]

def describe(data):
    whole = {split: len(part) for split, part in data.items()}
    first = data["train"][0]
    clip = first["target.wav"]
    raw = data["train"].cast_column("target.wav", Audio(decode=False))[0]["target.wav"]["bytes"]
    pcm = (clip["array"] * 32768).astype("int16").tolist()
    return {"counts": whole, "meta": first["json"], "rate": clip["sampling_rate"], "pcm": pcm, "wav": raw.hex()}

local = load_dataset(folder, cache_dir=work + "/cache")
local["train"].to_parquet(work + "/train.parquet")
again = load_dataset("parquet", data_files={"train": work + "/train.parquet"}, cache_dir=work + "/cache")
local.push_to_hub(pushed)
found = {
    "folder": describe(local),
    "parquet": describe(again),
    "hub": describe(load_dataset(name, cache_dir=work + "/cache")),
    "pushed": describe(load_dataset(pushed, cache_dir=work + "/cache")),
    "streamed": [one["json"] for one in load_dataset(folder, split="train", streaming=True)],
}
print(json.dumps(found))
"""

TABLES = """
import json, sys
import duckdb, pandas, polars

columns = ["key", "prefix_bytes_samples", "target_wav_offset"]
pattern = sys.argv[1] + "/train-*.parquet"
found = {
    "pandas": pandas.read_parquet(sys.argv[1] + "/train-000000.parquet")[columns].to_dict("records"),
    "polars": polars.scan_parquet(pattern).select(columns).collect().to_dicts(),
    "duckdb": duckdb.sql(f"select {', '.join(columns)} from '{pattern}'").df().to_dict("records"),
}
print(json.dumps(found))
"""


WIDS = """
import json, sys
import wids

found = {}
for split in ("train", "val", "test"):
    data = wids.ShardListDataset(f"{sys.argv[1]}/{split}.wids.json")
    found[split] = [[data[i]["__key__"], data[i][".json"]] for i in range(len(data))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("readers") / "shards"
    assert cli.main(["render", *OPTIONS, "--out", str(made)]) == 0
    return made


@pytest.fixture(scope="module")
def samples(folder):
    """All samples, as they lie in the tars."""
    plan = Plan.load(folder)
    return {
        split: [one for each in plan.shards() if each.split == split for one in folders.read_samples(folder, each.name)]
        for split in plan.counts
    }


def test_webdataset_with_more_workers_than_shards(folder, samples):
    """A worker without a shard is no error with `empty_check`, which must be turned off where there are fewer shards."""
    url, expected = str(folder / "train-000000.tar"), sorted(one["__key__"] for one in samples["train"])
    for workers in (0, 2):
        data = webdataset.WebDataset(url, shardshuffle=False, empty_check=False)
        found = [one["__key__"] for one in DataLoader(data, batch_size=None, num_workers=workers)]
        assert sorted(found) == expected
    with pytest.raises(ValueError, match="empty_check"):
        list(DataLoader(webdataset.WebDataset(url, shardshuffle=False), batch_size=None, num_workers=2))


# --- In an environment of their own ---


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Of a new environment with the readers."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    command = [place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"pip reaches no package index: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return place / "bin" / "python"


def run(python, program, *arguments, **environment):
    """What a program prints as its last line, from JSON."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(
        [python, "-c", program, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.integration
def test_datasets(folder, samples, python, tmp_path):
    """From the folder, as Parquet, streamed, published by us, and pushed by the library itself."""
    metas = [json.loads(one["json"]) for one in samples["train"]]
    wav = samples["train"][0]["target.wav"]
    with hub_server.start_hub() as hub:
        settings = {"HF_ENDPOINT": hub.address, "HF_TOKEN": hub_server.TOKEN, "HF_HUB_DISABLE_XET": "1"}
        settings |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        publish = [sys.executable, "-m", "dx7data", "publish", str(folder), "hf://datasets/me/sines"]
        subprocess.run(publish, env=os.environ | settings, check=True, timeout=300)
        found = run(python, DATASETS, folder, "me/sines", "me/pushed", tmp_path, **settings)
    assert found.pop("streamed") == metas
    for where, each in found.items():
        names = ["train"] if where == "parquet" else ["train", "validation", "test"]
        assert list(each["counts"].values()) == [len(part) for part in samples.values()][: len(names)], where
        assert list(each["counts"]) == names, where
        assert (each["meta"], each["rate"]) == (metas[0], 8000), where
        assert each["wav"] == wav.hex(), where
        assert b"".join(value.to_bytes(2, "little", signed=True) for value in each["pcm"]) == wav[44:], where


@pytest.mark.slow
@pytest.mark.integration
def test_tables(folder, samples, python):
    found = run(python, TABLES, folder)
    tar = (folder / "train-000000.tar").read_bytes()
    for rows in found.values():
        assert [row["key"] for row in rows] == [one["__key__"] for one in samples["train"]]
        assert {row["prefix_bytes_samples"] for row in rows} == {192}
        for row, one in zip(rows, samples["train"], strict=True):
            start = row["target_wav_offset"]
            assert tar[start : start + len(one["target.wav"])] == one["target.wav"]


@pytest.mark.slow
@pytest.mark.integration
def test_wids(folder, samples, tmp_path):
    """It needs torch, which is here, and is put into a folder of its own."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path), "wids==0.1.11"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"pip reaches no package index: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WIDS}"
    found = run(sys.executable, program, folder, WIDS_CACHE=str(tmp_path / "cache"))
    for split, of_split in samples.items():
        assert found[split] == [[one["__key__"], json.loads(one["json"])] for one in of_split]
