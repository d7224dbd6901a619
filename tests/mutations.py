"""Lines that a test must miss: each is taken out of a copy of the repository, and the test named beside it must fail.

``python tests/mutations.py`` runs all, ``python tests/mutations.py flock cudnn`` those whose name holds one of the
words. The exit code is 1 where a mutation survives, where its text does not stand exactly once in its file, or where
its test fails without it. ``test_mutations.py`` looks, in the default suite, that every text is still there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist")


@dataclass(frozen=True)
class Mutation:
    """``old``, which stands once in ``file``, becomes ``new``; then ``test`` must fail.

    The test is named as pytest names it, a file or ``file::function``, without its folder.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation("Euler numbers of critical regions", "nnunet_topo/homology/_error_regions.py",
             "        critical[region] |= change[region] != 0\n",
             "        pass\n",
             "test_error_regions.py::test_by_hand_in_3d_tunnels_are_seen_by_their_euler_numbers"),
    Mutation("what a crossing does not join", "nnunet_topo/homology/_runs.py",
             "                if masked == 2:\n",
             "                if masked >= 2:\n",
             "test_error_regions.py::test_critical_regions_are_the_authors"),
    Mutation("half precision is raised", "nnunet_topo/losses/_common.py",
             "        probabilities = probabilities.float()\n",
             "        pass\n",
             "test_loss_contract.py::test_half_precision_is_raised_and_the_value_is_float32_under_autocast"),
    Mutation("autocast is off around terms", "nnunet_topo/nnunet/training/compound_loss.py",
             '    return torch.autocast(device.type, enabled=False) if device.type in ("cuda", "cpu") '
             "else nullcontext()\n",
             "    return nullcontext()\n",
             "test_compound_loss.py::test_terms_get_float32_outside_of_autocast"),
    Mutation("sum over processes in clDice", "nnunet_topo/losses/cl_dice.py",
             "over_processes(parts.sum(1, keepdim=True))",
             "parts.sum(1, keepdim=True)",
             "test_loss_contract.py::test_batch_wise_sums_over_the_processes_of_a_distributed_training"),
    Mutation("sum over processes in Skeleton Recall", "nnunet_topo/losses/skeleton_recall.py",
             "over_processes(parts.sum(1, keepdim=True))",
             "parts.sum(1, keepdim=True)",
             "test_loss_contract.py::test_batch_wise_sums_over_the_processes_of_a_distributed_training"),
    Mutation("sum over processes in cbDice", "nnunet_topo/losses/cb_dice.py",
             "over_processes(parts.sum(1, keepdim=True))",
             "parts.sum(1, keepdim=True)",
             "test_loss_contract.py::test_batch_wise_sums_over_the_processes_of_a_distributed_training"),
    Mutation("stop where the loss is not finite", "nnunet_topo/nnunet/training/trainer.py",
             '        self._stop_if_not_finite(float(result["loss"]))\n',
             "",
             "test_trainer_hooks.py::test_a_loss_that_stays_not_finite_ends_the_training"),
    Mutation("notices in nnU-Net's log", "nnunet_topo/nnunet/training/trainer.py",
             '                self.print_to_log_file(f"NOTE: {sentence}")\n',
             "",
             "test_trainer_hooks.py::test_what_a_term_notices_stands_in_nnunets_log_once"),
    Mutation("short keys of a log at --c", "nnunet_topo/nnunet/training/trainer.py",
             'log.setdefault(key, []).extend([float("nan")] * (self.current_epoch - len(log.get(key, []))))',
             "pass",
             "test_trainer_hooks.py::test_keys_of_the_log_that_a_checkpoint_lacks_are_as_long_as_nnunets"),
    Mutation("best epoch in a new round", "nnunet_topo/nnunet/distillation/trainer.py",
             "        self._best_ema = None\n",
             "",
             "test_trainer_hooks.py::test_a_round_starts_without_the_best_epoch_and_the_gradient_scale_of_the_one_before"),
    Mutation("gradient scaler in a new round", "nnunet_topo/nnunet/distillation/trainer.py",
             "            self.grad_scaler = type(self.grad_scaler)()\n",
             "            pass\n",
             "test_trainer_hooks.py::test_a_round_starts_without_the_best_epoch_and_the_gradient_scale_of_the_one_before"),
    Mutation("moving average in a new round", "nnunet_topo/nnunet/distillation/trainer.py",
             '            self.logger.log("ema_fg_dice", self.logger.get_value("mean_fg_dice", '
             "step=-1), self.current_epoch)\n",
             "            pass\n",
             "test_self_distillation.py::test_each_round_starts_anew_and_learns_what_the_one_before_predicts"),
    Mutation("stamp of changed labels", "nnunet_topo/nnunet/training/label_settings.py",
             "(file.stat().st_size, file.stat().st_mtime_ns)",
             "()",
             "test_trainer_hooks.py::test_labels_that_change_are_measured_again"),
    Mutation("comparison of the stamps of labels", "nnunet_topo/fingerprint/labels.py",
             'record["stamp"] == case.stamp',
             "True",
             "test_fingerprint.py::test_reads_a_case_again_only_if_it_changed_or_something_new_is_asked"),
    Mutation("curves of training", "nnunet_topo/nnunet/training/progress.py",
             '        axes.plot(values, color="tab:blue", marker=marker, label="training")\n',
             "",
             "test_trainer_hooks.py::test_the_progress_shows_the_parts_and_the_weights"),
    Mutation("curves of validation", "nnunet_topo/nnunet/training/progress.py",
             '        axes.plot(validation[name], color="tab:red", marker=marker, label="validation")\n',
             "",
             "test_trainer_hooks.py::test_the_progress_shows_the_parts_and_the_weights"),
    Mutation("curves of weights", "nnunet_topo/nnunet/training/progress.py",
             '            twin.plot(weights[name], color="tab:gray", linestyle=":", label="weight")\n',
             "",
             "test_trainer_hooks.py::test_the_progress_shows_the_parts_and_the_weights"),
    Mutation("cuDNN in a study", "nnunet_topo/nnunet/training/seeds.py",
             "    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False\n",
             "",
             "test_trainer_hooks.py::test_a_seed_makes_cudnn_deterministic"),
    Mutation("code of the metrics in an evaluation's stamp", "nnunet_topo/nnunet/evaluation/folders.py",
             '        "metrics_code": metrics_code(),\n',
             "",
             "test_evaluation.py::test_a_case_is_computed_again_by_metrics_whose_code_has_changed"),
    Mutation("lock around a run", "nnunet_topo/study/execution.py",
             '    with locked(run.folder / ".lock"):\n',
             "    if True:\n",
             "test_study_kills.py::test_a_run_is_locked_while_it_is_executed_and_who_comes_second_waits"),
    Mutation("flock", "nnunet_topo/study/execution.py",
             "        fcntl.flock(opened, fcntl.LOCK_EX if create else fcntl.LOCK_SH)\n",
             "",
             "test_study_kills.py::test_a_run_is_locked_while_it_is_executed_and_who_comes_second_waits"),
    Mutation("processes end where a study is left", "nnunet_topo/study/launch.py",
             "            _end(submitted for _, submitted in busy.values())\n",
             "",
             "test_study_kills.py::test_a_study_that_is_left_by_an_error_has_ended_its_processes"),
    Mutation("workers ignore Ctrl-C", "nnunet_topo/processes.py",
             "    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends this process\n",
             "",
             "test_processes.py::test_an_interrupt_is_for_the_caller_and_ends_no_process"),
    Mutation("images are written at once", "nnunet_topo/files.py",
             "    with written_at_once(path) as temporary:\n        SimpleITK.WriteImage(",
             "    temporary = Path(path)\n    if True:\n        SimpleITK.WriteImage(",
             "test_files.py::test_what_does_not_fit_is_named_with_the_reason_and_what_was_there_is_kept"),
    Mutation("an earlier sure result is removed", "nnunet_topo/registration/result.py",
             '                (folder / f"{earlier}{name}").unlink(missing_ok=True)\n',
             "                pass\n",
             "test_registration_files.py::test_a_result_leaves_nothing_of_an_earlier_one_in_its_folder"),
    Mutation("earlier channels are removed", "nnunet_topo/commands/register.py",
             "        file.unlink(missing_ok=True)\n",
             "        pass\n",
             "test_registration_files.py::test_channels_of_an_earlier_sure_result_are_removed"),
    Mutation("moved skeleton of a deformation", "nnunet_topo/registration/deformable.py",
             "finest(vector) + moved_skeleton * skeleton(motion, vector[:-1])",
             "finest(vector)",
             "test_registration_terms.py::test_a_deformation_ends_with_the_moved_skeleton_by_its_weight"),
    Mutation("outlines in the registration figure", "nnunet_topo/report/registration_figure.py",
             "            panel.contour(part, levels=[0.5], colors=colour, linewidths=1)\n",
             "            pass\n",
             "test_registration_figure.py"),
    Mutation("skeletons in the registration figure", "nnunet_topo/report/registration_figure.py",
             "        panel.scatter(columns, rows, s=3, color=colour, linewidths=0)\n",
             "",
             "test_registration_figure.py"),
    Mutation("bones in the registration figure", "nnunet_topo/report/registration_figure.py",
             "        picture *= 1 - share[..., None] * (1 - tint)\n",
             "",
             "test_registration_figure.py"),
    Mutation("palette of case pictures", "nnunet_topo/report/case_pictures.py",
             "        ours = palette()\n",
             "        ours = [(0, 0, 0)]\n",
             "test_case_picture.py::test_picture_shows_each_error_in_its_colour_and_returns_the_numbers"),
    Mutation("random centres of crops", "nnunet_topo/losses/_images.py",
             "candidates[int(torch.randint(len(candidates), ()))]",
             "candidates[0]",
             "test_loss_images.py"),
    Mutation("random crops without foreground", "nnunet_topo/losses/_images.py",
             "[int(torch.randint(size, ())) for size in sizes]",
             "[0 for size in sizes]",
             "test_loss_images.py"),
    Mutation("work in the background", "nnunet_topo/losses/_images.py",
             "    future = pool.submit(function, *arguments, **options)\n",
             "    future: Future[Any] = Future()\n    future.set_result(function(*arguments, **options))\n",
             "test_loss_contract.py::test_what_looks_at_single_images_works_in_the_background"),
    Mutation("terms begin before nnU-Net's loss", "nnunet_topo/nnunet/training/compound_loss.py",
             "self.terms[name].start(handed",
             "TopologyLoss.start(self.terms[name], handed",
             "test_compound_loss.py::test_a_term_that_works_in_the_background_begins_before_nnunets_loss"),
]


def not_there_once(mutation: Mutation, repository: Path = REPOSITORY) -> str:
    """Why a mutation cannot be applied, in words; empty where it can."""
    file = repository / mutation.file
    count = file.read_text().count(mutation.old) if file.is_file() else 0
    return "" if count == 1 else f"{mutation.name}: its text stands {count} times in {mutation.file}, not once."


def main(words: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell, and then by all
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.name for word in words)]
    if not chosen:
        print(f"No mutation is named by {', '.join(words)}. There are: {', '.join(m.name for m in MUTATIONS)}.")
        return 1
    gone = [text for text in map(not_there_once, chosen) if text]
    if gone:
        print("\n".join(gone))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(REPOSITORY, copy, ignore=_LEFT_OUT, symlinks=True)
        (copy / "nnunet_topo" / "trainers").symlink_to("../trainers")  # as the wheel has it
        found = run(copy, "-c", "import nnunet_topo as a, nnunet_topo.trainers as b; print(a.__path__, b.__path__)")
        if found.stdout.count(str(copy.resolve())) != 2:
            print(f"The copy is not what is imported: {found.stdout}{found.stderr}")
            return 1
        code, said, seconds = tested(copy, *sorted({mutation.test for mutation in chosen}))
        print(f"Without a mutation: {seconds:.0f} s", flush=True)
        if code:
            print(said)
            return 1
        survived = [mutation.name for mutation in chosen if survives(mutation, copy)]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutations were noticed."
          + (f" Survived: {', '.join(survived)}." if survived else ""))
    return int(bool(survived))


def survives(mutation: Mutation, copy: Path) -> bool:
    file = copy / mutation.file
    text = file.read_text()
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        code, said, seconds = tested(copy, mutation.test)
    finally:
        file.write_text(text)
    noticed = code == 1  # a test failed; 2 to 5 say that it could not be run
    last = next((line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    print(f"{'noticed' if noticed else 'SURVIVED':9} {mutation.name} ({seconds:.0f} s) {last}", flush=True)
    return not noticed


def tested(copy: Path, *tests: str) -> tuple[int, str, float]:
    start = time.monotonic()
    result = run(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests))
    return result.returncode, result.stdout + result.stderr, time.monotonic() - start


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(copy), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run([sys.executable, *arguments], cwd=copy, env={**os.environ, "PYTHONPATH": path},
                          capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
