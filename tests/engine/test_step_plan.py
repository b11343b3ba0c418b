"""Steps that differ from each other: turns, objectives that end early, several updates."""

import pytest

from x2vlm.engine.step_plan import StepPlan

STREAMS = dict(image=("itc", "mlm"), image_clean=("itc", "itm", "mlm"), region=("itc", "itm", "bbox"))
TURNS = dict(
    clean=dict(share=0.15, streams=("image_clean", "region")),
    noisy=dict(share=0.85, streams=("image", "region"), without=("itm",)),
)


def test_without_a_plan_every_step_is_one_update_of_all_streams():
    assert StepPlan(STREAMS).at(seed=0, iteration=5) == [STREAMS]


def test_a_turn_has_its_streams_without_the_objectives_that_are_off():
    plan = StepPlan(STREAMS, turns=TURNS)
    steps = {plan.turn(1, n): plan.at(1, n) for n in range(50)}
    assert steps == {
        "clean": [dict(image_clean=("itc", "itm", "mlm"), region=("itc", "itm", "bbox"))],
        "noisy": [dict(image=("itc", "mlm"), region=("itc", "bbox"))],
    }


def test_turns_come_as_often_as_their_shares_say():
    plan = StepPlan(STREAMS, turns=TURNS)
    clean = sum(plan.turn(3, n) == "clean" for n in range(4000)) / 4000
    assert clean == pytest.approx(0.15, abs=0.02)


def test_turns_follow_from_the_seed_and_the_iteration_only():
    first, second = StepPlan(STREAMS, turns=TURNS), StepPlan(STREAMS, turns=TURNS)
    drawn = [first.turn(0, n) for n in range(100)]
    assert [second.turn(0, n) for n in reversed(range(100))] == drawn[::-1]
    assert [first.turn(1, n) for n in range(100)] != drawn


def test_an_objective_that_is_given_up_runs_until_its_iteration_and_a_stream_without_any_is_left_out():
    plan = StepPlan(dict(image=("itm", "mlm"), pairs=("itm",)), until=dict(itm=10))
    assert plan.at(0, 9) == [dict(image=("itm", "mlm"), pairs=("itm",))]
    assert plan.at(0, 10) == [dict(image=("mlm",))]


def test_a_step_in_which_nothing_is_left_is_an_error():
    plan = StepPlan(
        STREAMS, turns=TURNS | dict(noisy=TURNS["noisy"] | dict(streams=("image",))), until=dict(itc=5, mlm=5)
    )
    noisy = next(n for n in range(5, 50) if plan.turn(0, n) == "noisy")
    with pytest.raises(ValueError, match=rf"iteration {noisy + 1}: its turn 'noisy' has no objective left"):
        plan.at(0, noisy)


def test_updates_are_in_their_order_and_without_streams_there_is_none():
    plan = StepPlan(dict(text=("mlm",), image=("itc",), region=("bbox",)), updates=(("text",), ("region", "image")))
    assert plan.at(0, 0) == [dict(text=("mlm",)), dict(region=("bbox",), image=("itc",))]
    stopped = StepPlan(dict(text=("mlm",), image=("itc",)), updates=(("text",), ("image",)), until=dict(mlm=3))
    assert stopped.at(0, 3) == [dict(image=("itc",))]


def test_weights_of_objectives_stay_with_them():
    plan = StepPlan(dict(image=dict(itc=0.5, itm=0.25)), until=dict(itm=0))
    assert plan.at(0, 0) == [dict(image=dict(itc=0.5))]


def test_streams_that_are_switched_off_may_be_named():
    without_regions = {name: objectives for name, objectives in STREAMS.items() if name != "region"}
    plan = StepPlan(
        without_regions,
        turns=TURNS,
        updates=(("region",), ("image", "image_clean")),
        switched_off=("region",),
    )
    assert all("region" not in update for n in range(20) for update in plan.at(0, n))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(turns=dict(a=dict(share=0.5))), r"the shares of a add up to 0\.5; expected 1"),
        (dict(turns=dict(a=dict(share=1, streams=("imag",)))), r"turns\.a\.streams: 'imag'.*Did you mean 'image'"),
        (dict(turns=dict(a=dict(share=1, without=("itn",)))), r"turns\.a\.without: 'itn'.*Did you mean 'itm'"),
        (dict(turns=dict(a=dict(share=1, shares=1))), r"turns\.a: 'shares'.*Did you mean 'share'"),
        (dict(turns=dict(a=dict(share=0))), r"turns\.a: share is 0"),
        (
            dict(turns=dict(a=dict(share=1, streams=("image",), without=("itc", "mlm")))),
            r"turns\.a: none of its streams has an objective left",
        ),
        (dict(until=dict(itn=3)), r"until: 'itn'.*Did you mean 'itm'"),
        (dict(updates=(("image",),)), "every stream belongs to one group"),
        (dict(updates=(("image", "region"), ("image_clean", "image"))), "every stream belongs to one group"),
        (dict(updates=(("image", "regions"),)), r"updates: 'regions'.*Did you mean 'region'"),
    ],
)
def test_a_plan_without_meaning_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StepPlan(STREAMS, **options)
