"""What a driver's signs of life say of its work."""

import json

from orchestrator.coordination.news import MOST_TOLD, DriverNews, Work, news_of

NEWS = DriverNews(
    10.0,
    {"transfer-1": Work(11.0, "step 3 of 20, loss 2.713", "10.0.0.3, GPU 2")},
    {"prune-1": "waits for 1 CPU"},
    {"rank-1": "TrainingDivergedError: the loss is 1e9"},
)


def test_news_come_back_from_json() -> None:
    assert news_of(json.loads(json.dumps(NEWS.to_json()))) == NEWS


def test_of_thousands_of_stages_a_sign_of_life_tells_some() -> None:
    many = {f"prune-{number}": "waits" for number in range(10 * MOST_TOLD)}
    assert len(DriverNews(10.0, waits=many).to_json()["waits"]) == MOST_TOLD


def test_news_of_another_version_are_none() -> None:
    assert news_of({"began": "yesterday"}) == DriverNews()
    assert news_of({}) == DriverNews()
