"""The list of all messages that name an option or an installation as their remedy, and of the test that does it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from behaviour.test_remedies import MESSAGES

TESTS = Path(__file__).parents[1]
REMEDY = re.compile(r"(?<![\w-])--[a-z]|pip install")
PASTED = "behaviour/test_remedies_pasted.py"
DONE = {
    "a finished word of other": "behaviour/test_finished.py::test_a_finished_folder_stays_until_told",
    "results of an earlier prediction": (
        "behaviour/test_finished.py::test_a_prediction_takes_a_folder_of_its_own_unless_one_is_named"
    ),
    "damaged; name another --out": "unit/inference/test_earlier.py::test_a_damaged_table_is_refused",
    "the report of another evaluation": "integration/test_evaluate.py::test_a_report_of_something_else_is_not_lost",
    "; or name another --out, or give --overwrite": (
        "integration/test_evaluate.py::test_a_report_of_something_else_is_not_lost"
    ),
    "an unfinished run is kept": "integration/test_resume.py::test_other_settings_start_afresh_where_that_is_wanted",
    "--resume to continue it or": "integration/test_killed.py::test_a_training_that_is_stopped_says_how_to_go_on",
    "the unfinished run at word began": (
        "integration/test_resume.py::test_other_settings_start_afresh_where_that_is_wanted"
    ),
    "--resume to go back to the last": "integration/test_killed.py::test_a_training_that_is_stopped_says_how_to_go_on",
    "no checkpoint of plain values": (
        "integration/test_resume.py::test_other_settings_start_afresh_where_that_is_wanted"
    ),
    "not installed (the extra": (
        "unit/system/test_extras.py::test_the_remedy_names_the_very_packages_so_that_any_index_will_do"
    ),
    "needs the extra": ("unit/system/test_extras.py::test_from_sources_that_were_never_installed_the_extra_is_named"),
    "trained on lesions, perhaps these, so": (
        "unit/training/test_start.py::test_starting_weights_that_know_training_images_leave_nothing_to_hold_out"
    ),
    "of the validation and test images": (
        "unit/training/test_start.py::test_starting_weights_that_know_images_of_another_split_are_refused"
    ),
    "the mean of several networks, of which": (
        "unit/bundling/test_imports.py::test_an_ensemble_is_not_imported_as_one_of_its_networks"
    ),
    **dict.fromkeys(
        ("--set calibration.folds=0 --set ensemble=1", "--set coarse.folds=0"),
        "unit/training/test_start.py::test_starting_weights_that_know_training_images_leave_nothing_to_hold_out",
    ),
    **dict.fromkeys(
        ("--keep-outline goes with", "--keep-outline takes the given"),
        "behaviour/test_cli.py::test_predict_with_what_a_person_says",
    ),
    "--points and --box are of one image": "behaviour/test_cli.py::test_predict_with_what_a_person_says",
    "guidance_start=random": (
        "unit/training/test_start.py::test_how_enhanced_starts_holds_also_for_weights_that_are_named"
    ),
    "lie in more than one split": (
        "unit/artifacts/test_overlap.py::test_what_is_torn_is_refused_with_the_flag_that_allows_it"
    ),
    "(--allow-missing to score": "unit/evaluation/test_files.py::test_missing_images_are_told_unless_allowed",
    "(--allow-training-images": "unit/test_pipeline.py::test_training_images_are_not_scored_by_accident",
    "--protocol fast": "unit/test_pipeline.py::test_training_images_are_not_scored_by_accident",
    ".training.batch_size=8": "behaviour/test_remedies.py::test_what_is_said_where_memory_is_out_is_taken",
    "runtime.device=cpu": "behaviour/test_remedies.py::test_what_is_said_where_memory_is_out_is_taken",
    "give --device cpu": "behaviour/test_remedies.py::test_what_is_said_where_memory_is_out_is_taken",
    "give --word, made from": "behaviour/test_cli.py::test_every_step_by_hand",
    **dict.fromkeys(
        (
            "--allow-missing goes with",
            "--compare and --stress need a model",
            "--coarse-folds and",
            "--as goes with one file",
            "--resume or --overwrite, not both",
            "name at least one image",
            "expected KEY=VALUE",
        ),
        f"{PASTED}::test_options_that_go_together_get_past_the_refusal",
    ),
    **dict.fromkeys(
        ("--cluster takes neither", "--workers word: give 1", "--workers goes with --cluster"),
        f"{PASTED}::test_options_of_predicting_by_several_workers",
    ),
    **dict.fromkeys(
        ("download extra: give --ids", "next: prepare or run with --extra"),
        f"{PASTED}::test_images_by_id_are_downloaded_and_prepared_as_the_lines_say",
    ),
    "choose another --port": f"{PASTED}::test_another_port_is_listened_on",
    "--ntasks-per-node": f"{PASTED}::test_srun_with_the_option_that_it_lacked",
    "mbdcnn predict word --out word": f"{PASTED}::test_the_demos_last_line_predicts_with_the_shipped_model",
    "--runtime torch": "unit/inference/test_export.py::test_a_graph_that_gives_other_values_than_torch_is_not_kept",
    "mbdcnn prepare RAW DATA --config": (
        "integration/test_evaluate.py::test_the_remedy_for_data_of_other_settings_can_be_pasted"
    ),
    "is none of the classes": (
        "unit/config/test_classes.py::test_a_setting_that_names_a_class_that_is_not_there_is_refused_with_what_helps"
    ),
    "first being the benign rest": (
        "unit/data/readers/test_classes.py::test_classes_are_those_of_the_table_the_benign_rest_first"
    ),
    **dict.fromkeys(
        ("name another, the benign one first", "is no class; leave the cell empty", "look like one; write them alike"),
        "unit/data/readers/test_classes.py::test_what_may_be_a_slip_is_refused_with_a_setting_that_takes_it",
    ),
    "is not one of the configured classes": (
        "unit/data/test_sources.py::test_a_class_that_is_not_configured_may_be_added_as_the_line_says"
    ),
    "leave the classes out, or give": (
        "unit/artifacts/test_prepared.py::test_data_of_other_classes_are_refused_with_the_setting_that_takes_them"
    ),
}
PARSED_ONLY = {
    "pip install pillow-heif": "a library of others, of which an index is asked",
    "no Ray cluster there": "takes a cluster",
    "start again with fewer --workers": "takes workers that die again and again",
}


def remedied() -> list[str]:
    return [message for message in MESSAGES if REMEDY.search(message) and " " in message and message != "--set word"]


@pytest.mark.parametrize("message", remedied())
def test_every_message_with_a_remedy_is_in_the_list(message: str) -> None:
    assert any(part in message for part in (*DONE, *PARSED_ONLY))


@pytest.mark.parametrize("part", [*DONE, *PARSED_ONLY])
def test_the_list_holds_nothing_that_is_not_said(part: str) -> None:
    assert any(part in message for message in MESSAGES)


@pytest.mark.parametrize("place", sorted(set(DONE.values())))
def test_the_tests_are_there(place: str) -> None:
    file, name = place.split("::")
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
