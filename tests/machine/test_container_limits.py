"""Limits of containers, played by folders of the files that Linux shows."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from textmill.cli.main import main
from textmill.machine import container_limits as limits_of
from textmill.machine.container_limits import ContainerLimits, container_limits, sentence
from textmill.machine.cpu_contention import contention_warning
from textmill.machine.devices import cores, processors
from textmill.machine.kernel_choices import apply_kernels
from textmill.machine.memory import free_memory

MIB = 1 << 20
NONE = ContainerLimits()


class Container:
    """A folder that plays /sys/fs/cgroup, and a file that plays /proc/self/cgroup."""

    def __init__(self, folder: Path, groups: str) -> None:
        self.root, self.own = folder / "cgroup", folder / "own"
        self.root.mkdir()
        self.own.write_text(groups)

    def write(self, group: str, **values: object) -> None:
        """Write the files of a group; `memory_max` is the file memory.max."""
        folder = self.root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            controller, _, rest = name.partition("_")
            (folder / f"{controller}.{rest}").write_text(f"{value}\n")

    @property
    def limits(self) -> ContainerLimits:
        return container_limits(self.root, self.own)


def test_version_2_counts_the_page_cache_as_free(tmp_path: Path) -> None:
    """Free is the limit without what is used, and with the files in memory that the kernel can drop."""
    box = Container(tmp_path, "0::/\n")
    stat = f"anon {300 * MIB}\nactive_file {50 * MIB}\ninactive_file {150 * MIB}\nshmem {7 * MIB}"
    box.write("", memory_max=1000 * MIB, memory_high="max", memory_current=500 * MIB, memory_stat=stat)
    box.write("", cpu_max="150000 100000")
    assert box.limits == ContainerLimits(memory=1000 * MIB, free=700 * MIB, cores=1.5)


def test_the_smallest_of_nested_groups_counts(tmp_path: Path) -> None:
    """The group itself, the slice above it and the top: memory, what is free and cores, each by its own smallest."""
    box = Container(tmp_path, "0::/kube.slice/pod/run\n")
    box.write("", cpu_max="max 100000")
    box.write("kube.slice", memory_max=800 * MIB, memory_current=790 * MIB, cpu_max="400000 100000")
    box.write("kube.slice/pod", memory_max=500 * MIB, memory_current=100 * MIB, cpu_max="50000 100000")
    box.write("kube.slice/pod/run", memory_max="max", memory_current=90 * MIB, cpu_max="max 100000")
    assert box.limits == ContainerLimits(memory=500 * MIB, free=10 * MIB, cores=0.5)


def test_where_a_group_is_slowed_down_is_its_limit(tmp_path: Path) -> None:
    """memory.high below memory.max is what can be used at full speed."""
    box = Container(tmp_path, "0::/\n")
    box.write("", memory_max=1000 * MIB, memory_high=600 * MIB, memory_current=100 * MIB)
    assert box.limits == ContainerLimits(memory=600 * MIB, free=500 * MIB)


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    """Its files have other names; the limit of groups that are not shown is in the statistics."""
    box = Container(tmp_path, "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n")
    stat = f"hierarchical_memory_limit {400 * MIB}\ntotal_active_file {MIB}\ntotal_inactive_file {2 * MIB}"
    box.write("memory", memory_limit_in_bytes=2000 * MIB, memory_usage_in_bytes=300 * MIB, memory_stat=stat)
    box.write("cpu,cpuacct", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
    box.write("cpu,cpuacct/docker/abc", cpu_cfs_quota_us=200000, cpu_cfs_period_us=100000)
    assert box.limits == ContainerLimits(memory=400 * MIB, free=103 * MIB, cores=2.0)


def test_both_versions_at_once(tmp_path: Path) -> None:
    """Where version 2 lies beside version 1, as in the folder `unified`, limits of both count."""
    box = Container(tmp_path, "4:cpu:/\n0::/user\n")
    box.write("cpu", cpu_cfs_quota_us=300000, cpu_cfs_period_us=100000)
    box.write("unified/user", cpu_max="100000 100000", memory_max=5 * MIB, memory_current=6 * MIB)
    assert box.limits == ContainerLimits(memory=5 * MIB, free=0, cores=1.0)


@pytest.mark.parametrize("groups", ["", "0::/\n", "nonsense\n", "0::/../..\n", "5:memory:/x\n0::/x\n"])
def test_no_limit(tmp_path: Path, groups: str) -> None:
    """Without limits, in words or in version 1's largest number, with files that make no sense, or on other systems."""
    box = Container(tmp_path, groups)
    assert box.limits == NONE
    box.write("", memory_max="max", memory_current=MIB, cpu_max="max 100000", memory_stat="half\nline")
    box.write("memory", memory_limit_in_bytes=9223372036854771712, memory_usage_in_bytes=MIB)
    box.write("cpu", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
    assert box.limits == NONE
    assert container_limits(tmp_path / "missing", tmp_path / "missing") == NONE


def test_it_is_said_if_it_is_less_than_the_machine_has() -> None:
    """A limit at or above what the machine has is none."""
    assert sentence(ContainerLimits(2 * 10**9, 10**9, 1.5), 64 * 10**9, 16) == (
        "the container allows 2.0 GB of 64.0 GB of memory and 1.5 of 16 cores"
    )
    assert sentence(ContainerLimits(cores=2.0), 64 * 10**9, 16) == "the container allows 2 of 16 cores"
    assert sentence(ContainerLimits(64 * 10**9, 10**9, 16.0), 64 * 10**9, 16) is None


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """A container of half a processor and 300 MiB, of which 40 are free, that this process is in."""
    box = Container(tmp_path, "0::/\n")
    box.write("", memory_max=300 * MIB, memory_current=270 * MIB, memory_stat=f"inactive_file {10 * MIB}")
    box.write("", cpu_max="50000 100000")
    monkeypatch.setattr(limits_of, "ROOT", box.root)
    monkeypatch.setattr(limits_of, "OWN", box.own)
    return box


def test_memory_threads_and_preparing_keep_to_it(inside: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory, the number of cores, and the threads that training takes; threads that were given are taken."""
    assert free_memory() == 40 * MIB and cores() == 1
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(2)
        assert apply_kernels(torch.device("cpu"), onednn=False)["threads"] == 1
        assert apply_kernels(torch.device("cpu"), threads=2, onednn=False)["threads"] == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert apply_kernels(torch.device("cpu"), onednn=False)["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_other_programs_on_the_machine_are_measured_by_its_processors(inside: Container) -> None:
    """One thread finds a free processor among those of the machine, though the container allows only half of one."""
    if processors() > 1:
        assert contention_warning(1, processors() - 1.0) is None


def test_plan_doctor_and_train_say_it_once(
    inside: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan does not fit where the container's rest is too small; training says what it may have."""
    book = tmp_path / "book.txt"
    book.write_text("once upon a time\n" * 200)
    memory = psutil.virtual_memory().total
    said = sentence(inside.limits, memory, processors())
    assert said is not None and f"0.5 of {processors()} core" in said
    small = ["--device", "cpu", "--preset", "tiny", "--d-model", "16", "--num-layers", "1", "--num-heads", "2"]
    large = ["--device", "cpu", "--preset", "tiny", "--d-model", "512", "--num-heads", "2"]
    assert main(["plan", str(book), *large]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "it does NOT fit" in shown and shown.count(said) == 1
    assert main(["doctor", "--device", "cpu"]) == 0
    assert " ".join(capsys.readouterr().out.split()).count(said) == 1
    run = ["--output-dir", str(tmp_path / "run"), "--max-steps", "1", "--tokenizer", "byte"]
    assert main(["train", str(book), *small, *run, "--cache-dir", str(tmp_path / "cache")]) == 0
    assert " ".join(capsys.readouterr().out.split()).count(said) == 1
