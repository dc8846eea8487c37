from __future__ import annotations

import numpy as np

from mbdcnn.inference.interpret import interpret
from mbdcnn.inference.protocol import Outcome


def test_the_map_is_of_the_class_of_the_whole_image() -> None:
    outcome = Outcome(
        view_logits=np.array([[0, 2, 0], [9, 0, 0], [9, 0, 0]], np.float32),
        coarse_mask=np.zeros((4, 4), bool),
        activation_map=np.zeros((2, 2), np.float32),
        embedding=np.zeros(3, np.float32),
        scale_logits=(np.zeros((4, 4), np.float32),),
        width=4,
        height=4,
    )
    prediction = interpret(outcome, ("nevus", "melanoma", "seborrheic_keratosis"), "paper", None, None)
    assert (prediction.decision, prediction.cam_class) == ("nevus", "melanoma")
    assert prediction.to_dict()["cam_class"] == "melanoma"
    assert prediction.answer == prediction.to_dict()["answer"] == "nevus 70 %, melanoma 26 %, seborrheic keratosis 4 %"
