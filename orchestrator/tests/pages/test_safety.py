"""Nothing that a user sends becomes markup, and nothing in a page needs a weaker policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from msgspec import Raw

from orchestrator.model.errors import FieldError
from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus
from orchestrator.model.view import RunView, Unserved
from orchestrator.pages import assets, render
from orchestrator.pages.render import LettersFilters, RunsFilters
from tests.pages import sample
from tests.pages.markup import Page

CORPUS: Final = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea></pre></code><iframe src=javascript:alert(1)>",
    "<!--<img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<style>*{background:url(//evil.example)}</style>",
    "<base href=//evil.example/>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "\u202e<b>txet\u202c",
    "\x00\x0b<a\x0chref=javascript:alert(1)>",
    "`${alert(1)}`",
    "//evil.example/../../x?y#z",
    "$(touch /tmp/x); `id` && 'quoted'",
)
PLAIN: Final = "plain"


def every_page(word: str) -> list[str]:
    url = sample.BASE_URL
    error = sample.make_error(word)
    attempts = (
        sample.make_attempt(AttemptStatus.FAILED, 0, 0.1, 0.2, worker=word, error=error),
        sample.make_attempt(AttemptStatus.FAILED, 1, 1.1, 1.2, worker=word, error=error, number=2),
    )
    step = sample.make_step(0, StepStatus.FAILED, attempts, action=word)
    step.details = Raw(b'"' + word.encode() + b'"')
    done = sample.make_step(1, StepStatus.COMPLETED, (sample.make_attempt(AttemptStatus.COMPLETED, 1, 1.1, 1.2),), word)
    failed = sample.make_run(
        RunStatus.FAILED, [step, done], run_id=word, workflow_id=word, end=2, error=error,
        run_input=b'["' + word.encode() + b'"]', output=b"{" + word.encode(),
    )  # fmt: skip
    failed.step_results[0].result = Raw(word.encode())
    waiting = sample.make_run(RunStatus.WAITING, [step], run_id=word, workflow_id=word, waiting_for=word)
    workflow = sample.make_workflow(word, (word, word))
    workflow.steps[0].retry.non_retryable = [word]
    worker = sample.make_worker(word, (word, word))
    worker.sdk = worker.version = worker.host = word
    filters = RunsFilters(workflow=word, started_from=word, started_to=word, cursor=word)
    summary = sample.make_summary(1, RunStatus.FAILED, run_id=word, workflow_id=word, error=error)
    letter = sample.make_letter(word)
    return [
        render.runs_page([summary], filters=filters, next_cursor=word, base_url=url, workflow_ids=[word]),
        render.runs_page([], filters=filters, next_cursor=None, base_url=f"http://{word}"),
        render.run_page(failed, workflow, base_url=url, now=sample.iso(3)),
        render.run_page(waiting, workflow, base_url=url, now=sample.iso(3)),
        render.workflows_page([workflow], base_url=url),
        render.workflow_page([workflow, workflow], base_url=url),
        render.workers_page([worker], Unserved(actions=[word], groups=[word]), base_url=url),
        render.dead_letters_page(
            [letter],
            word,
            base_url=url,
            filters=LettersFilters(workflow=word, action=word, error=word, created_from=word, state=word, cursor=word),
        ),
        render.dead_letter_page(letter, base_url=url),
        render.error_page(400, word, word + word, [FieldError(word, word, word)], base_url=url),
    ]


def check(page: Page) -> None:
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}={value!r}>"
        assert name not in ("style", "srcdoc", "formaction", "srcset"), f"<{tag} {name}={value!r}>"
        if name in ("href", "src", "action", "data-href"):
            assert value.startswith(("/", "#")), f"<{tag} {name}={value!r}>"
            assert not value.startswith("//"), f"<{tag} {name}={value!r}>"
    assert not {"style", "iframe", "object", "embed", "base", "img"} & set(page.tags)
    scripts = page.values("script", "src")
    assert page.tags.count("script") == len(scripts) == 2
    assert all(script.startswith("/assets/") for script in scripts)
    assert page.unclosed == []


@pytest.mark.parametrize("word", CORPUS)
def test_what_users_send_stays_text(word: str) -> None:
    """A page has the same elements whatever the words in it are."""
    for html, plain in zip(every_page(word), every_page(PLAIN), strict=True):
        page = Page(html)
        check(page)
        assert page.tags == Page(plain).tags


def test_the_words_themselves_are_shown() -> None:
    word = CORPUS[0]
    for html in every_page(word):
        assert word in Page(html).text


@pytest.mark.parametrize(
    "make",
    [
        sample.completed_run,
        sample.failed_run,
        sample.running_run,
        sample.queued_run,
        sample.waiting_run,
        lambda: sample.long_run(300, failed_at=250),
    ],
)
def test_no_page_needs_inline_code(make: Callable[[], RunView]) -> None:
    run = make()
    workflow = sample.make_workflow(actions=tuple(step.action for step in run.steps))
    page = Page(render.run_page(run, workflow, base_url=sample.BASE_URL, now=sample.iso(3)))
    check(page)
    assert len(page.ids) == len(set(page.ids))


def test_a_command_line_is_safe_to_paste() -> None:
    html = render.workflows_page([sample.make_workflow("a; rm -rf $HOME")], base_url=sample.BASE_URL)
    assert f"curl {sample.BASE_URL}/workflow/a%3B%20rm%20-rf%20%24HOME/trigger -d" in Page(html).text


def test_scripts_run_no_text() -> None:
    folder = Path(assets.__file__).parent / "assets"
    for script in folder.glob("*.js"):
        text = script.read_text("utf-8")
        for word in ("eval(", "Function(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http"):
            assert word not in text, f"{script.name}: {word}"


def test_styles_load_nothing() -> None:
    text = (Path(assets.__file__).parent / "assets" / "app.css").read_text("utf-8")
    assert "@import" not in text
    assert "http" not in text
    assert text.count("url(") == text.count("url(#")


def test_the_policy_allows_this_server_and_nothing_else() -> None:
    policy = assets.HEADERS["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in assets.HEADERS["Content-Security-Policy"]
    assert all(word in ("'self'", "'none'", "data:") for rule in policy for word in rule.split()[1:])
