"""The SparkContext: its life, its settings, its jobs."""

from __future__ import annotations

import getpass
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import headwater
from headwater import RDD, SparkConf, SparkContext, TaskContext
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    JobCancelled,
    SerializationError,
)
from tests.waiting import wait_for

# ------------------------------------------------------------------------------------------------ life
NAMELESS = "from headwater import SparkContext; sc = SparkContext.getOrCreate(); print(sc.appName, sc.master)"


def name_and_master(*command: str, **environment: str) -> str:
    """What a program prints of a context that it has given neither."""
    run = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout.strip()


def test_an_application_without_a_name_is_called_as_its_script(tmp_path: pathlib.Path) -> None:
    (tmp_path / "clicks.py").write_text(NAMELESS)
    assert name_and_master(str(tmp_path / "clicks.py")) == "clicks.py local[*]"


def test_an_application_without_a_name_is_called_as_its_module_when_run_by_m(tmp_path: pathlib.Path) -> None:
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "__main__.py").write_text(NAMELESS)
    assert name_and_master("-m", "clicks", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == "clicks local[*]"


def test_an_application_without_a_name_or_a_script_is_a_pyspark_shell() -> None:
    assert name_and_master("-c", NAMELESS) == "pyspark-shell local[*]"


def test_options_in_the_environment_give_name_and_master() -> None:
    options = "--master local[3] --name 'of the notebook' --packages org.apache.spark:kafka:1 pyspark-shell"
    assert name_and_master("-c", NAMELESS, PYSPARK_SUBMIT_ARGS=options) == "of the notebook local[3]"


def test_no_master_means_all_cores_of_this_machine(no_context: None) -> None:
    with SparkContext(appName="x") as sc:
        assert sc.master == "local[*]"
        assert sc.defaultParallelism == len(os.sched_getaffinity(0))


def test_an_unknown_master_names_those_that_there_are(no_context: None) -> None:
    with pytest.raises(
        IllegalArgumentException, match=r"Could not parse Master URL: 'yarn'.*local\[N\].*local-cluster"
    ):
        SparkContext("yarn", "x")
    SparkContext("local", "x").stop()


def test_only_one_context_lives_at_a_time(no_context: None) -> None:
    first = SparkContext("local", "first")
    here = re.escape(__file__)
    text = (
        r"Cannot run multiple SparkContexts at once; existing SparkContext\(app=first, master=local\) "
        rf"created by __init__ at {here}:\d+"
    )
    with pytest.raises(ValueError, match=text):
        SparkContext("local", "second")
    assert first.parallelize([1]).count() == 1
    first.stop()
    SparkContext("local", "second").stop()


def test_get_or_create_gives_the_one_that_lives(no_context: None) -> None:
    conf = SparkConf().setMaster("local").setAppName("created")
    sc = SparkContext.getOrCreate(conf)
    assert SparkContext.getOrCreate() is sc
    sc.stop()
    again = SparkContext.getOrCreate(conf)
    assert again is not sc


def test_stop_is_idempotent_and_what_follows_says_where_it_was(no_context: None) -> None:
    with SparkContext("local", "app") as sc:
        rdd = sc.parallelize([1])
    sc.stop()
    text = rf"Cannot use a stopped SparkContext \(app app\): it was stopped by .* at {re.escape(__file__)}:\d+"
    for use in (
        lambda: sc.parallelize([1]),
        lambda: rdd.collect(),
        lambda: rdd.map(str),
        lambda: rdd.toLocalIterator(),
        lambda: rdd.saveAsTextFile("/tmp/never"),
        lambda: sc.broadcast(1),
        lambda: sc.accumulator(1),
        lambda: sc.addFile(__file__),
        lambda: sc.setCheckpointDir("/tmp/never"),
        lambda: sc.defaultParallelism,
        lambda: sc.statusTracker(),
        lambda: sc.cancelAllJobs(),
    ):
        with pytest.raises(IllegalStateException, match=text):
            use()
    assert sc.getConf().get("spark.app.name") == "app"


def test_the_block_of_a_with_statement_stops_it_on_an_error(no_context: None) -> None:
    with pytest.raises(KeyError), SparkContext("local", "x"):
        raise KeyError
    SparkContext("local", "y").stop()


def test_a_program_that_does_not_stop_its_context_ends_and_leaves_nothing() -> None:
    program = (
        "from headwater import SparkContext, SparkFiles\n"
        "sc = SparkContext('local[2]', 'x')\n"
        "print(sc.parallelize([1, 2]).count(), SparkFiles.getRootDirectory())\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    number, directory = run.stdout.split()
    assert number == "2"
    assert not os.path.exists(directory)
    assert run.stderr == ""


def test_pickling_a_context_is_refused_with_sparks_words(sc: SparkContext) -> None:
    text = "It appears that you are attempting to reference SparkContext from a broadcast variable, action, or transfor"
    with pytest.raises(SerializationError, match=text):
        sc.parallelize([1]).map(lambda x: sc.version).collect()
    with pytest.raises(SerializationError, match=text):
        sc.broadcast(sc)


# ------------------------------------------------------------------------------------------------ settings
def test_the_conf_is_copied(no_context: None) -> None:
    conf = SparkConf().setMaster("local").setAppName("x")
    with SparkContext(conf=conf, environment={"WHO": "me"}) as sc:
        conf.set("spark.ui.port", "1")
        sc.getConf().set("spark.ui.port", "2")
        assert sc.getConf().get("spark.ui.port") is None
        assert sc.getConf().get("spark.app.id") == sc.applicationId
        assert sc.getConf().get("spark.executor.id") == "driver"
        assert sc.getConf().get("spark.submit.deployMode") == "client"
        assert sc.getConf().get("spark.executorEnv.WHO") == "me"
    assert conf.get("spark.app.id") is None


def test_workers_get_the_environment(no_context: None) -> None:
    with SparkContext("local[1]", "x", environment={"HEADWATER_TEST": "me"}) as sc:
        assert sc.parallelize([1]).map(lambda x: os.environ["HEADWATER_TEST"]).collect() == ["me"]


def test_default_parallelism_is_the_default_of_shuffles(no_context: None) -> None:
    conf = SparkConf().setMaster("local[2]").setAppName("x").set("spark.default.parallelism", 3)
    with SparkContext(conf=conf) as sc:
        pairs = sc.parallelize([(1, 1)])
        assert (sc.defaultParallelism, pairs.getNumPartitions(), sc.defaultMinPartitions) == (3, 3, 2)
        assert sc.parallelize([(1, 1)], 7).reduceByKey(max).getNumPartitions() == 3
        assert sc.parallelize([(1, 1)], 7).join(pairs).getNumPartitions() == 3


def test_a_system_property_reaches_later_confs(no_context: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.conf.system_properties", {})
    SparkContext.setSystemProperty("spark.app.name", "from the system")
    with SparkContext("local") as sc:
        assert sc.appName == "from the system"


def test_what_a_context_says_about_itself(sc: SparkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sc.version == headwater.__version__
    assert re.fullmatch(r"local-\d{13}|app-\d{14}-0000", sc.applicationId)
    assert sc.uiWebUrl is None
    assert abs(time.time() * 1000 - sc.startTime) < 10 * 60_000
    monkeypatch.delenv("SPARK_USER", raising=False)
    assert sc.sparkUser() == getpass.getuser()
    assert sc.resources == {}


# ------------------------------------------------------------------------------------------------ jobs
def test_run_job_concatenates_the_partitions_asked_for(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(6), 3)
    assert sc.runJob(rdd, lambda records: [x * x for x in records]) == [0, 1, 4, 9, 16, 25]
    assert sc.runJob(rdd, list, [2, 0]) == [4, 5, 0, 1]
    with pytest.raises(IllegalArgumentException, match=r"has 3 partitions, but not \[3\]"):
        sc.runJob(rdd, list, [0, 3])


def test_local_properties_belong_to_a_thread_and_reach_tasks(sc: SparkContext) -> None:
    sc.setLocalProperty("colour", "red")
    seen: list[str | None] = []

    def colour(_: Any) -> str | None:
        context = TaskContext.get()
        return context and context.getLocalProperty("colour")

    def in_a_thread() -> None:
        seen.append(sc.getLocalProperty("colour"))
        sc.setLocalProperty("colour", "blue")
        seen.extend(sc.parallelize([1], 1).map(colour).collect())

    thread = threading.Thread(target=in_a_thread, daemon=True)
    thread.start()
    thread.join()
    assert seen == [None, "blue"]
    assert sc.parallelize([1], 1).map(colour).collect() == ["red"]
    sc.setLocalProperty("colour", None)
    assert sc.parallelize([1], 1).map(colour).collect() == [None]


def test_a_job_group_sets_the_properties_that_spark_sets(sc: SparkContext) -> None:
    sc.setJobGroup("group", "what it does", True)
    names = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")
    assert [sc.getLocalProperty(name) for name in names] == ["group", "what it does", "true"]
    sc.setJobDescription("another")
    assert sc.getLocalProperty("spark.job.description") == "another"


@pytest.mark.parametrize("cancel", [lambda sc: sc.cancelJobGroup("doomed"), lambda sc: sc.cancelAllJobs()])
def test_a_cancelled_job_raises_where_it_was_waited_for(sc: SparkContext, tmp_path: pathlib.Path, cancel: Any) -> None:
    outcome: list[Any] = []

    def run() -> None:
        sc.setJobGroup("doomed", "never ends")
        try:
            outcome.append(_endless(sc, tmp_path / "begun").collect())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for((tmp_path / "begun").exists, "the task runs")
    cancel(sc)
    thread.join(30)
    assert [type(error) for error in outcome] == [JobCancelled]
    assert sc.parallelize([1, 2], 2).count() == 2


def test_a_stage_is_active_while_its_tasks_run(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    job = sc.submit_job(_endless(sc, tmp_path / "begun"), lambda partition, records: list(records), [0])
    try:
        wait_for((tmp_path / "begun").exists, "the task runs")
        tracker = sc.statusTracker()
        assert tracker.getActiveJobsIds() == [job.job_id]
        wait_for(lambda: tracker.getActiveStageIds() != [], "the stage is told of, just after its tasks are sent")
        (stage_id,) = tracker.getActiveStageIds()
        stage = tracker.getStageInfo(stage_id)
        assert stage is not None
        assert (stage.numTasks, stage.numActiveTasks, stage.numCompletedTasks) == (1, 1, 0)
    finally:
        job.cancel()


def _endless(sc: SparkContext, marker: pathlib.Path) -> RDD[int]:
    """A partition that takes a minute; the file appears when its task has begun."""

    def slow(x: int) -> int:
        marker.touch()
        for _ in range(6000):
            time.sleep(0.01)  # in small steps: a thread can only be ended between two of them
        return x

    return sc.parallelize([1], 1).map(slow)


def test_jobs_of_several_threads_run_side_by_side(sc: SparkContext) -> None:
    results: dict[int, int] = {}

    def run(n: int) -> None:
        results[n] = sc.parallelize(range(n), 2).map(lambda x: (x % 3, x)).reduceByKey(max).count()

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: min(n, 3) for n in range(1, 9)}


def test_collect_with_job_group_leaves_the_threads_group_alone(sc: SparkContext) -> None:
    sc.setJobGroup("mine", "")
    name = f"other {time.time_ns()}"
    assert sc.parallelize([1]).collectWithJobGroup(name, "") == [1]
    assert sc.getLocalProperty("spark.jobGroup.id") == "mine"
    assert len(sc.statusTracker().getJobIdsForGroup(name)) == 1


def test_the_status_tracker_follows_a_job(sc: SparkContext) -> None:
    tracker = sc.statusTracker()
    name = f"group {time.time_ns()}"
    sc.setJobGroup(name, "")
    sc.parallelize([(1, 1)], 3).reduceByKey(max, 2).collect()
    (job_id,) = tracker.getJobIdsForGroup(name)
    wait_for(lambda: job_id not in tracker.getActiveJobsIds(), "the job is over")
    job = tracker.getJobInfo(job_id)
    assert job is not None
    assert (job.jobId, job.status, len(job.stageIds)) == (job_id, "SUCCEEDED", 2)
    stages = [tracker.getStageInfo(stage) for stage in sorted(job.stageIds)]
    assert sorted((s.numTasks, s.numCompletedTasks, s.numFailedTasks) for s in stages if s) == [(2, 2, 0), (3, 3, 0)]
    assert tracker.getJobInfo(10**6) is None
    assert tracker.getStageInfo(10**6) is None


def test_a_failed_job_is_failed_in_the_status_too(sc: SparkContext) -> None:
    name = f"group {time.time_ns()}"
    sc.setJobGroup(name, "")
    with pytest.raises(ZeroDivisionError):
        sc.parallelize([0], 1).map(lambda x: 1 // x).count()
    tracker = sc.statusTracker()
    (job_id,) = tracker.getJobIdsForGroup(name)
    wait_for(lambda: job_id not in tracker.getActiveJobsIds(), "the job is over")
    job = tracker.getJobInfo(job_id)
    assert job is not None
    assert job.status == "FAILED"


def test_calls_at_the_stop_are_made_once_after_the_application_has_ended(no_context: None) -> None:
    sc = SparkContext("local", "x")
    running: list[bool] = []

    def ask() -> None:
        with pytest.raises(IllegalStateException):
            sc.check_running()
        running.append(False)

    sc.at_stop(ask)
    sc.stop()
    sc.stop()
    assert running == [False]
    with pytest.raises(IllegalStateException):
        sc.at_stop(ask)


# ------------------------------------------------------------------------------------------------ profiles
def test_profiles_are_collected_if_asked_for(
    no_context: None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow_function(x: int) -> int:
        return sum(range(x))

    conf = SparkConf().setMaster("local[2]").setAppName("x").set("spark.python.profile", "true")
    with SparkContext(conf=conf) as sc:
        rdd = sc.parallelize(range(100), 2).map(slow_function)
        rdd.count()
        sc.show_profiles()
        assert f"Profile of RDD<id={rdd.id()}>" in (shown := capsys.readouterr().out)
        assert "slow_function" in shown
        rdd.count()
        sc.dump_profiles(str(tmp_path / "profiles"))
        assert os.listdir(tmp_path / "profiles") == [f"rdd_{rdd.id()}.pstats"]


def test_profiles_that_were_not_asked_for_are_an_error(sc: SparkContext) -> None:
    with pytest.raises(RuntimeError, match="'spark.python.profile' configuration must be set to 'true'"):
        sc.show_profiles()


# ------------------------------------------------------------------------------------------------ import
def test_importing_the_package_imports_next_to_nothing() -> None:
    program = "import sys; before = set(sys.modules); import headwater; print(*sorted(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    imported = run.stdout.split()
    ours = [name for name in imported if name.startswith("headwater")]
    assert ours == ["headwater", "headwater.base", "headwater.base.lazy", "headwater.version"]
    assert len(imported) <= len(ours) + 2


def test_all_public_names_can_be_imported() -> None:
    assert all(getattr(headwater, name) is not None for name in headwater.__all__)
    assert set(headwater.__all__) <= set(dir(headwater))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = headwater.Nothing
