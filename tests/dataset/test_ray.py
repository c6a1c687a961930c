"""A Ray cluster of several nodes on this machine renders what one worker does, whatever is lost on the way."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time

import object_store
import pytest

from dx7data import cli
from dx7data.dataset import folders
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder

pytestmark = [pytest.mark.slow, pytest.mark.integration]

PLAN = ["--patches", "example", "--samples", "240", "--seconds", "2", "--shard-size", "500kB", "--seed", "5"]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
_PATIENCE = 300  # seconds, for whatever happens on a busy machine


def contents(folder):
    """SHA-256 of every file that the promise of identical bytes covers."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "render.log"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "shards"
    assert cli.main(["render", *PLAN, "--out", str(folder), "--workers", "1"]) == 0
    assert len(list(folder.glob("*.tar"))) > 30
    return folder


@pytest.fixture
def planned(made, tmp_path):
    folders.write_plan(Plan.load(made), LocalFolder(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def store():
    """An S3 server, and a bucket of it."""
    with object_store.serve() as store, pytest.MonkeyPatch.context() as changed:
        yield store, object_store.make_bucket(store, changed)


@pytest.fixture(scope="module")
def cluster(store):
    """Two nodes, of which the driver is at the first. They know how to reach the store."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


def start(folder, cluster, *options):
    command = [sys.executable, "-m", "dx7data", "render", "--plan", str(folder), "--executor", "ray", *options]
    command += ["--ray-address", cluster.address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """The exit status and what was said, which is never anything of Ray's."""
    said = process.communicate(timeout=_PATIENCE)[1]
    if "Tried to complete task that was not pending" in said:
        pytest.skip(
            "Ray aborted, as it may when a task ends while it is cancelled: see dx7data/dataset/executors/ray.py, _cancel"
        )
    assert "ray" not in re.sub(r"Rendering on .* of a Ray cluster|No node of the Ray cluster", "", said).lower(), said
    assert "Traceback" not in said
    return process.returncode, said


def wait_until(there, process):
    deadline = time.monotonic() + _PATIENCE
    while not there():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def count_shards(folder):
    return len(list(folder.glob("*.stats.json")))


def find_nodes(log):
    """The ids of the nodes that have made shards in the last render, and how many shards."""
    return {node: int(count) for count, node in re.findall(r"(\d+) on \S+/([0-9a-f]{8})", log.splitlines()[-1])}


def has_task(node):
    """Whether a node renders now: Ray names its processes by what they do."""
    [raylet] = [each.process for each in node.all_processes["raylet"]]
    titles = subprocess.run(["ps", "-o", "args=", "--ppid", str(raylet.pid)], capture_output=True, text=True).stdout
    return "ray::_render" in titles


def test_a_node_is_lost_half_way(made, planned, cluster):
    lost = cluster.add_node(**NODE)
    process = start(planned, cluster)
    wait_until(lambda: has_task(lost), process)
    cluster.remove_node(lost, allow_graceful=False)
    assert count_shards(planned) < count_shards(made)
    assert end(process)[0] == 0
    assert contents(planned) == contents(made)
    nodes = find_nodes((planned / "render.log").read_text())
    assert len(nodes) >= 2
    assert sum(nodes.values()) == count_shards(made)


def test_shards_go_straight_into_an_object_store(made, planned, cluster, store):
    store, bucket = store
    store.requests.clear()
    assert end(start(planned, cluster, "--out", f"{bucket}/set"))[0] == 0
    there = object_store.read_all(f"{bucket}/set")
    log = there.pop("render.log").decode()
    assert {name: hashlib.sha256(data).hexdigest() for name, data in there.items()} == contents(made)
    assert len(find_nodes(log)) == 2
    assert store.count("PUT", ".tar") == store.count("PUT", ".stats.json") == count_shards(made)


def test_begun_here_and_ended_on_a_cluster_whose_driver_is_killed(made, planned, cluster):
    assert cli.main(["render", "--plan", str(planned), "--job", "1/4", "--workers", "1"]) == 0
    of_this_machine = {path.name: path.stat().st_mtime_ns for path in planned.glob("*.tar")}
    process = start(planned, cluster)
    wait_until(lambda: count_shards(planned) >= len(of_this_machine) + 2, process)
    process.kill()
    process.communicate(timeout=_PATIENCE)
    assert len(of_this_machine) + 2 <= count_shards(planned) < count_shards(made)
    assert end(start(planned, cluster))[0] == 0
    assert contents(planned) == contents(made)
    assert {name: (planned / name).stat().st_mtime_ns for name in of_this_machine} == of_this_machine


def test_ctrl_c_leaves_nothing_half_written(planned, cluster):
    process = start(planned, cluster)
    wait_until(lambda: count_shards(planned) >= 2, process)
    process.send_signal(signal.SIGINT)
    status, said = end(process)
    assert status == 130
    assert said.count("stopped") == 1
    assert not list(planned.glob(".*"))
    there = count_shards(planned)
    time.sleep(1)
    assert count_shards(planned) == there, "a task goes on"


def test_an_error_of_a_task_is_one_sentence(planned, cluster):
    (planned / "train-000003.tar" / "mine").mkdir(parents=True)
    status, said = end(start(planned, cluster))
    assert status == 2
    assert f"writing to {planned} failed: Directory not empty. Whole shards are kept" in said.splitlines()[-1]
    assert not list(planned.glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize(
    ("plan_there", "sentence"), [(False, "has no plan on"), (True, "does not show it here: all nodes of the cluster")]
)
def test_a_folder_that_nodes_do_not_share(made, planned, cluster, plan_there, sentence):
    """The driver alone sees another disk at this place."""
    if not plan_there:
        (planned / "dataset.json").unlink()
    script = 'mount -t tmpfs tmpfs "$1" && cd "$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "dx7data", "render", "--plan", made, "--out", planned]
    command += ["--executor", "ray", "--ray-address", cluster.address]
    found = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", planned, *command], capture_output=True, text=True
    )
    if "mount" in found.stderr:
        pytest.skip("no mounts here")
    assert found.returncode == 2, found.stderr
    assert sentence in found.stderr.splitlines()[-1]


def test_a_gpu_is_asked_for(planned, cluster):
    """A node says that it has a GPU; the task that comes to it finds none that it can use."""
    node = cluster.add_node(num_gpus=1, **NODE)
    status, said = end(start(planned, cluster, "--device", "cuda"))
    cluster.remove_node(node)
    assert status == 2
    assert "device 'cuda' cannot be used" in said.splitlines()[-1]
