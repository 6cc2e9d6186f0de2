"""Studies: what is planned, that only what is missing is trained, and the statistics of the table."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ndtool.errors import NdtoolError
from ndtool.train.config import METHOD_SETTINGS, TrainConfig
from ndtool.train.models import ModelSpec
from ndtool.train.setup import prepare
from ndtool.train.study import Study, baseline_of, plan_jobs, plan_variants, report, rows_of

NETS = Path(__file__).with_name("nets.py")
QUICK = {"epochs": 1, "batch_size": 256, "bn_samples": 256, "device": "cpu"}


def base_of(**settings) -> TrainConfig:
    spec = ModelSpec(name="resnet8", input_shape=(1, 8, 8), classes=10)
    return TrainConfig(model=spec, data="digits", **settings)


def names(variants) -> list[str]:
    return [variant.name for variant in variants]


def test_a_setting_is_varied_where_the_method_looks_at_it():
    methods = ("vanilla", "kd", "inplace", "netdistiller")
    vary = {"expand": [2, 3], "surgery": ["none"], "lr": [0.5]}
    assert names(plan_variants(base_of(), methods, vary)) == [
        *methods,
        "vanilla lr=0.5",
        "kd expand=2",  # expand=3 is what kd is anyway
        "kd lr=0.5",
        "inplace expand=2",
        "inplace lr=0.5",
        "netdistiller expand=2",
        "netdistiller surgery=none",
        "netdistiller lr=0.5",
    ]


def test_a_setting_is_varied_of_one_method_alone():
    vary = {"vanilla.epochs": [90], "netdistiller.distill": ["dkd", "kl"]}
    assert names(plan_variants(base_of(), ("vanilla", "kd", "netdistiller"), vary)) == [
        "vanilla",
        "kd",
        "netdistiller",
        "vanilla epochs=90",
        "netdistiller distill=dkd",
    ]
    with pytest.raises(NdtoolError, match=r"--vary kd\.distill: kd is not compared: choose from vanilla"):
        plan_variants(base_of(), ["vanilla"], {"kd.distill": ["dkd"]})
    with pytest.raises(NdtoolError, match=r"--vary vanilla\.expand: vanilla does not look at expand"):
        plan_variants(base_of(), ["vanilla"], {"vanilla.expand": [2]})


def test_settings_that_cannot_be_varied_are_refused():
    with pytest.raises(NdtoolError, match="--vary seed: this cannot be varied: choose from amp, augment"):
        plan_variants(base_of(), ["vanilla"], {"seed": [1]})
    with pytest.raises(NdtoolError, match="expand = 'wide' is of the wrong type"):
        plan_variants(base_of(), ["netdistiller"], {"expand": ["wide"]})


def test_every_method_says_what_it_looks_at():
    fields = set(base_of().to_dict()) | {"teacher"}
    assert all(settings <= fields for settings in METHOD_SETTINGS.values())


def test_students_of_one_teacher_share_it():
    jobs = plan_jobs(plan_variants(base_of(), ["kd"], {"distill": ["dkd"], "expand": [2]}), seeds=2)
    assert [job.name for job in jobs[:5]] == [
        "teacher.seed-0",
        "kd.seed-0",
        "kd,distill=dkd.seed-0",
        "teacher,expand=2.seed-0",
        "kd,expand=2.seed-0",
    ]
    assert jobs[2].teacher == jobs[1].teacher == jobs[0]
    assert len(jobs) == 10
    assert {job.config.seed for job in jobs[5:]} == {1}


def result_of(accuracy: float, seconds: float, teacher: float | None = None) -> dict:
    test = {"student": {"accuracy": accuracy}} | ({} if teacher is None else {"teacher": {"accuracy": teacher}})
    return {"test": test, "validation": {"accuracy": accuracy}, "seconds": seconds}


def test_differences_are_paired_by_seed():
    vanilla, teacher, kd = [], [], []
    for job in plan_jobs(plan_variants(base_of(), ["vanilla", "kd"]), seeds=3):
        (vanilla if job.variant == "vanilla" else teacher if job.is_teacher else kd).append(job)
    found = [(job, result_of(score, 60)) for job, score in zip(vanilla, (0.70, 0.72, 0.74), strict=True)]
    found += [(job, result_of(0.9, 120)) for job in teacher]
    # against the same seeds: +0.03, +0.05; the third is not there yet
    found += [(job, result_of(score, 30, 0.9)) for job, score in zip(kd[:2], (0.73, 0.77), strict=True)]
    rows = {row.variant: row for row in rows_of(found, "vanilla")}
    assert list(rows) == ["vanilla", "kd", "teacher"]
    assert rows["vanilla"].score == pytest.approx(0.72)
    assert rows["vanilla"].spread == pytest.approx(0.02)
    assert rows["vanilla"].difference is None
    assert rows["kd"].difference == pytest.approx(0.04)
    assert rows["kd"].difference_error == pytest.approx(0.01)  # deviation 0.01 * sqrt(2), over sqrt(2)
    assert rows["kd"].seconds == 150  # the teacher's training is part of kd's
    assert rows["kd"].teacher == 0.9
    rows = {row.variant: row for row in rows_of(found, "kd")}
    assert rows["kd"].difference is None
    assert rows["vanilla"].difference == pytest.approx(-0.04)
    assert rows["teacher"].difference == pytest.approx(0.15)


def test_equal_time_is_another_question_than_equal_epochs():
    def hint(methods=("vanilla", "netdistiller"), **vary):
        jobs = plan_jobs(plan_variants(base_of(epochs=30), methods, vary), seeds=1)
        found = [(job, result_of(0.7, 40 if job.variant == "netdistiller" else 10)) for job in jobs]
        return report.summarise(found, jobs, "vanilla").hint

    assert "took 4.0 times as long as vanilla, if it was on a like machine: --vary vanilla.epochs=120 " in hint()
    assert hint(**{"vanilla.epochs": [120]}) is None
    assert hint(["vanilla"]) is None


def test_differences_are_to_vanilla_unless_told_otherwise():
    jobs = plan_jobs(plan_variants(base_of(), ["kd", "vanilla"], {"distill": ["dkd"]}), seeds=1)
    assert baseline_of(jobs) == "vanilla"
    assert baseline_of(jobs, "kd distill=dkd") == "kd distill=dkd"
    assert baseline_of(plan_jobs(plan_variants(base_of(), ["kd", "inplace"]), seeds=1)) == "kd"
    with pytest.raises(NdtoolError, match="--against netaug: this is not compared: choose from teacher, kd, vanilla"):
        baseline_of(jobs, "netaug")


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    return Study(tmp_path / "study")


def quick_jobs(**settings):
    config, _ = prepare(f"{NETS}:convolutional", "digits", **QUICK | settings)
    return plan_jobs(plan_variants(config, ["vanilla", "kd", "netdistiller"]), seeds=1)


def worked(study: Study, jobs) -> list[str]:
    begun: list[str] = []
    assert study.work(jobs, started=lambda job, number, count: begun.append(job.name))
    return begun


def test_only_what_is_missing_is_trained(study):
    jobs = quick_jobs()
    assert worked(study, jobs) == ["vanilla.seed-0", "teacher.seed-0", "kd.seed-0", "netdistiller.seed-0"]
    assert worked(study, jobs) == []
    (study.path / "results" / "netdistiller.seed-0.json").unlink()
    assert worked(study, jobs) == ["netdistiller.seed-0"]
    for job in jobs:  # the results alone are the study
        shutil.rmtree(study.run(job).path)
    assert worked(study, jobs) == []
    (study.path / "results" / "kd.seed-0.json").unlink()
    assert worked(study, jobs) == ["teacher.seed-0", "kd.seed-0"]  # its weights are needed once more
    with pytest.raises(NdtoolError, match=r"holds vanilla.seed-0 with other settings \(batch_size: 256 -> 128\)"):
        worked(study, quick_jobs(batch_size=128))
    with pytest.raises(NdtoolError, match=r"holds kd.seed-0 with other settings \(distill: kl -> dkd\)"):
        worked(study, quick_jobs(distill="dkd"))  # which vanilla ignores


def test_a_study_leaves_tables_and_figures(study):
    jobs = quick_jobs()
    worked(study, jobs)
    summary = report.write(study, jobs, against="vanilla").to_dict()
    assert [row["variant"] for row in summary["rows"]] == ["vanilla", "kd", "netdistiller", "teacher"]
    assert summary["missing"] == []
    assert summary["settings"]["epochs"] == 1
    assert json.loads((study.path / "study.json").read_text()) == summary
    page = (study.path / "study.md").read_text()
    assert f"| netdistiller | 1 | {100 * summary['rows'][2]['score']:.2f} |" in page
    first = {name: (study.path / f"{name}.svg").read_bytes() for name in ("accuracy", "teacher", "conflicts")}
    report.write(study, jobs, against="vanilla")
    assert {name: (study.path / f"{name}.svg").read_bytes() for name in first} == first
    result = study.results(jobs)[-1][1]
    assert result["shared"] == ["0.weight", "3.weight", "9.weight", "9.bias"]
    assert len(result["history"][0]["cosines"]) == len(result["history"][0]["conflicts"]) == 4


def test_a_folder_that_is_no_study_is_refused(study):
    study.path.mkdir()
    (study.path / "holiday.txt").write_text("mine")
    with pytest.raises(NdtoolError, match="not empty and no study"):
        worked(study, quick_jobs())


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path):
    line = [sys.executable, "-m", "ndtool.cli", "compare", "resnet8", "--data", "digits", "--epochs", "1"]
    line += ["--seeds", "2", "--methods", "vanilla,kd", "--out", str(tmp_path / "study")]
    environment = os.environ | {"NDTOOL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    begun = [text.split("] ")[1] for text in "".join(told).splitlines() if text.startswith("[")]
    assert sorted(begun) == sorted(set(begun))
    assert len(begun) == 6
