from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.app import run
from tests.cli.fake import Fake, run_of

RUN = "/workflow/run/r-1"


def test_start_prints_the_id_and_nothing_else(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("POST", "/workflow/order/trigger", {"runId": "r-1"}, status=201)
    assert run(["run", "start", "order", "-i", '{"id": 12345678901234567890.1234567890123}', "--key", "k"]) == 0
    assert capsys.readouterr().out == "r-1\n"
    assert fake.calls[0].body == b'{"input":{"id": 12345678901234567890.1234567890123}}'
    assert fake.calls[0].headers["idempotency-key"] == "k"


def test_the_input_comes_from_a_file_or_from_standard_input(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.on("POST", "/workflow/order/trigger", {"runId": "r-1"}, status=201)
    file = tmp_path / "input.json"
    file.write_text('"from a file"')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"from a pipe"')))
    assert run(["run", "start", "order", "-i", f"@{file}"]) == 0
    assert run(["run", "start", "order", "-i", "-"]) == 0
    assert run(["run", "start", "order"]) == 0
    bodies = [call.body for call in fake.calls]
    assert bodies == [b'{"input":"from a file"}', b'{"input":"from a pipe"}', b'{"input":null}']


@pytest.mark.parametrize("text", ["Hello", "{", "@/no/such/file", "1 2"])
def test_an_input_that_is_not_json_is_a_usage_error(text: str, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "start", "order", "-i", text]) == 2
    assert "error: " in capsys.readouterr().err
    assert not fake.calls


def test_waiting_prints_the_output(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("POST", "/workflow/order/trigger", {"runId": "r-1"}, status=201)
    fake.on("GET", RUN, run_of("RUNNING"), run_of())
    assert run(["run", "start", "order", "--wait"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True}
    assert fake.calls[1].query == {"wait": ["20.000s"]}


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "TIMED_OUT"])
@pytest.mark.parametrize("how", ["--wait", "--watch"])
def test_a_run_that_did_not_complete_has_its_exit_code(
    status: str, how: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on("POST", "/workflow/order/trigger", {"runId": "r-1"}, status=201)
    fake.on("GET", RUN, run_of(status))
    fake.on("GET", f"{RUN}/events", [])
    assert run(["run", "start", "order", how]) == 4
    assert f"run r-1 is {status}" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["--wait", "--watch"])
def test_the_end_of_the_time_to_wait_has_its_exit_code(
    how: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on("POST", "/workflow/order/trigger", {"runId": "r-1"}, status=201)
    fake.on("GET", RUN, run_of("RUNNING"))
    fake.on("GET", f"{RUN}/events", [])
    assert run(["run", "start", "order", how, "--timeout", "1ms"]) == 5
    told = capsys.readouterr().err
    assert "step 1 (charge): on w-1" in told
    assert "orchestrator run watch r-1" in told


def test_json_is_printed_to_its_last_digit(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    raw = json.dumps(run_of()).replace('"id": 7', '"id": 1.00000000000000000000000001').encode()
    fake.on("GET", RUN, raw)
    assert run(["run", "show", "r-1", "--json"]) == 0
    assert '"id": 1.00000000000000000000000001' in capsys.readouterr().out


def test_show_in_a_pipe_has_one_line_for_each_attempt(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", RUN, run_of())
    assert run(["run", "show", "r-1"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:5] for line in lines] == [
        ["0", "reserve", "COMPLETED", "1", "COMPLETED"],
        ["1", "charge", "COMPLETED", "1", "FAILED"],
        ["1", "charge", "COMPLETED", "2", "COMPLETED"],
    ]


@pytest.mark.usefixtures("terminal")
def test_show_on_a_terminal_draws_the_steps(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", RUN, run_of("RUNNING"))
    assert run(["run", "show", "r-1"]) == 0
    shown = capsys.readouterr()
    assert "✔ reserve  COMPLETED" in shown.out
    assert "5 of 10" in shown.out
    assert "attempt 1 FAILED  CardDeclined: no [31m money" in shown.out
    assert "waiting for step 1 (charge): on w-1" in shown.err


def test_list_sends_its_filters_and_prints_plain_columns(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workflow/runs", [run_of("FAILED")])
    arguments = ["run", "list", "--status", "failed", "--status", "running", "--workflow", "order", "--limit", "7"]
    assert run([*arguments, "--from", "2026-11-23T10:00:00+01:00"]) == 0
    assert fake.calls[0].query == {
        "status": ["FAILED,RUNNING"],
        "workflow": ["order"],
        "limit": ["7"],
        "from": ["2026-11-23T09:00:00.000000Z"],
        "view": ["summary"],
    }
    line = "r-1\torder\t2\tFAILED\t2026-11-23T10:00:00.000000Z\t2.0 s\tCardDeclined: no [31m money\n"
    assert capsys.readouterr().out == line


def test_list_follows_the_pages_until_the_limit(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [run_of(runId=f"r-{number}") for number in range(5)]
    fake.on("GET", "/workflow/runs", entries[:3], headers={"Link": '</page/2?cursor=x>; rel="next"'})
    fake.on("GET", "/page/2", entries[3:])
    assert run(["run", "list", "--json", "--limit", "4"]) == 0
    assert [entry["runId"] for entry in json.loads(capsys.readouterr().out)] == ["r-0", "r-1", "r-2", "r-3"]


def test_an_empty_list_says_what_to_do(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workflow/runs", [])
    assert run(["run", "list"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "orchestrator run start" in told.err


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_time_that_is_none_is_a_usage_error(option: str, fake: Fake) -> None:
    assert run(["run", "list", option, "yesterday"]) == 2
    assert not fake.calls


def event(seq: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "at": f"2026-11-23T10:00:0{seq}.000000Z", "type": kind, **more}


def test_watch_prints_each_event_once(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    failed = event(
        2,
        "AttemptFailed",
        stepIndex=1,
        attempt=1,
        error={"type": "CardDeclined", "message": "no"},
        nextAttemptAt="soon",
    )
    fake.on("GET", RUN, run_of("RUNNING"), run_of())
    fake.on("GET", f"{RUN}/events", [event(1, "RunStarted"), failed], [event(3, "RunCompleted")])
    assert run(["run", "watch", "r-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("\tRunStarted")
    assert lines[1].endswith("AttemptFailed\tstep 1 (charge)\tattempt 1\tCardDeclined: no\tnext attempt at soon")
    assert lines[2].endswith("\tRunCompleted")
    assert [call.query for call in fake.calls if call.path.endswith("/events")] == [{}, {"after": ["2"]}]


def test_watch_prints_events_as_lines_of_json(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", RUN, run_of())
    fake.on("GET", f"{RUN}/events", [event(1, "RunStarted"), event(2, "RunCompleted")])
    assert run(["run", "watch", "r-1", "--json"]) == 0
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


@pytest.mark.usefixtures("terminal")
def test_watch_on_a_terminal_leaves_the_finished_tree(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", RUN, run_of("RUNNING"), run_of())
    assert run(["run", "watch", "r-1"]) == 0
    assert "2 of 2 steps" in capsys.readouterr().out


def test_ctrl_c_stops_watching_and_says_so(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    fake.on("GET", RUN, run_of("RUNNING"))
    fake.on("GET", f"{RUN}/events", [])
    monkeypatch.setattr("orchestrator.cli.watch.time.sleep", interrupt)
    assert run(["run", "watch", "r-1"]) == 130
    assert "run r-1 goes on" in capsys.readouterr().err


def test_cancel_sends_the_reason(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("POST", f"{RUN}/cancel", run_of("CANCELLED"))
    assert run(["run", "cancel", "r-1", "--reason", "not needed"]) == 0
    assert json.loads(fake.calls[0].body) == {"reason": "not needed"}
    assert capsys.readouterr().out == "r-1\tCANCELLED\n"
