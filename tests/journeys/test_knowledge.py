"""Knowledge, as its customer sees it: uploaded, cut, embedded, found again; each request paid, nothing shared."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF

from installation import Installation
from openmaas.core.errors import FieldInvalid
from openmaas.knowledge.reading import text_of
from shelves import MULTIPART, OPEN, PAAS, ask, embedded, form, new_base, put, search, upload

FAQ = "# 退货\n七天内可以退货。\n\n# 运费\n运费由我们承担。\n\n# Relay\nThe relay answers requests.\n".encode()


@pytest.fixture(autouse=True)
def _control_is_up(echo: Installation) -> None:
    echo.settle_in(f"{OPEN}/knowledge")


def test_what_was_uploaded_is_found_with_its_citation_and_its_vectors_are_paid(echo: Installation) -> None:
    organisation, key = echo.organisation("1")
    base_id = new_base(echo, key)
    document = put(echo, base_id, "faq.md", FAQ, key)
    assert (document["embedding_stat"], document["chunk_num"], document["embedded_num"]) == (1, 3, 3)
    assert (document["word_num"], document["length"], document["failInfo"]) == (len(FAQ.decode()) - 1, len(FAQ), None)
    status, found = search(echo, "运费谁承担", base_id, key=key, recall_method="keyword")
    assert status == 200
    assert [each["text"] for each in found] == ["# 运费\n运费由我们承担。"]
    metadata = found[0]["metadata"]
    assert (metadata["doc_id"], metadata["doc_name"], metadata["position"]) == (document["id"], "faq.md", 1)
    assert echo.ask("GET", metadata["doc_url"], key=key)[2] == FAQ
    deadline = time.monotonic() + 20
    while not (rows := _receipts(echo, key)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(rows) == 1  # words cost nothing
    assert rows[0]["job_id"].startswith("embedding_")
    assert Decimal(rows[0]["amount"]) > 0
    assert rows[0]["batch"] is False
    assert echo.settled(organisation) == Decimal(1) - Decimal(rows[0]["amount"])


def _receipts(house: Installation, key: str) -> list[dict[str, Any]]:
    return list(json.loads(house.ask("GET", "/v1/receipts?limit=100", key=key)[2])["data"])


def test_a_question_s_vector_is_paid_by_whoever_asks(echo: Installation) -> None:
    _, key = echo.organisation("1")
    base_id = new_base(echo, key)
    put(echo, base_id, "faq.md", FAQ, key)
    status, found = search(echo, "# 退货\n七天内可以退货。", base_id, key=key, recall_method="embedding")
    assert (status, found[0]["text"], round(found[0]["score"], 5)) == (200, "# 退货\n七天内可以退货。", 1)
    deadline = time.monotonic() + 20
    while len(rows := _receipts(echo, key)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {row["model"] for row in rows} == {"echo"}
    assert any(row["job_id"].startswith("req_") for row in rows)
    _, broke = echo.organisation("0")
    theirs = new_base(echo, broke)
    status, error = search(echo, "x", theirs, key=broke)
    assert (status, error["code"]) == (429, "1113")
    assert put(echo, theirs, "a.txt", b"text", broke)["failInfo"]["embedding_msg"].startswith("The balance does not")


def test_both_ways_of_recall_weigh_as_asked_and_a_threshold_leaves_out(echo: Installation) -> None:
    base_id = new_base(echo)
    put(echo, base_id, "faq.md", FAQ)
    for ratio, first in ((0, "# Relay\nThe relay answers requests."), (100, None)):
        _, found = search(echo, "relay", base_id, recall_ratio=ratio)
        _, near = search(echo, "relay", base_id, recall_method="embedding")
        assert found[0]["text"] == (first or near[0]["text"])
    _, few = search(echo, "relay", base_id, recall_method="embedding", top_k=1)
    assert len(few) == 1
    _, none = search(echo, "relay", base_id, recall_method="keyword", fractional_threshold=1)
    assert none == []
    _, ranked = search(echo, "relay", base_id, rerank_status=1, rerank_model="echo")
    assert [each["score"] for each in ranked] == sorted((each["score"] for each in ranked), reverse=True)
    status, error = search(echo, "relay", base_id, rerank_status=1, rerank_model="nosuch")
    assert (status, error["code"], error["param"]) == (400, "1211", "model")


def test_several_bases_are_searched_as_one_and_documents_can_be_named(echo: Installation) -> None:
    first, second = new_base(echo), new_base(echo)
    one = put(echo, first, "one.txt", "退货 退货 一".encode())
    put(echo, second, "two.txt", "退货 二".encode())
    _, found = search(echo, "退货", first, second, first, recall_method="keyword")
    assert len(found) == 2
    assert {each["metadata"]["doc_name"] for each in found} == {"one.txt", "two.txt"}
    _, found = search(echo, "退货", first, second, document_ids=[one["id"]])
    assert {each["metadata"]["doc_id"] for each in found} == {one["id"]}


def test_each_kind_of_file_is_read_and_what_cannot_be_says_why(echo: Installation) -> None:
    base_id = new_base(echo)
    paper = FPDF()
    for page in ("first page", "second page"):
        paper.add_page()
        paper.set_font("Helvetica", size=12)
        paper.cell(0, 10, page)
    assert put(echo, base_id, "a.pdf", bytes(paper.output()), knowledge_type="6")["chunk_num"] == 2
    assert put(echo, base_id, "t.csv", b"q,a\none,1\ntwo,2\n")["chunk_num"] == 2
    cut = put(echo, base_id, "own.txt", "甲###乙###丙".encode() * 20, custom_separator=["###"], sentence_size="20")
    assert (cut["knowledge_type"], cut["custom_separator"], cut["sentence_size"]) == (5, ["###"], 20)
    _, found = search(echo, "second", base_id, recall_method="keyword")
    assert found[0]["metadata"]["doc_name"] == "a.pdf"
    for name, content, why in (
        ("b.pdf", b"%PDF-1.7 no", "no PDF"),
        ("c.docx", b"PK", "no docx"),
        ("d.json", b"{", "no JSON"),
        ("e.txt", b" \n ", "no text"),
        ("f.txt", b"\x81", "not text"),
    ):
        failed = put(echo, base_id, name, content)
        assert (failed["embedding_stat"], failed["failInfo"]["embedding_code"]) == (2, 10001)
        assert why in failed["failInfo"]["embedding_msg"]
    told = upload(echo, base_id, "g.exe", b"MZ")["data"]
    assert told["successInfos"] == []
    assert "no known kind" in told["failedInfos"][0]["failReason"]


def test_a_document_is_cut_anew_and_a_base_gets_another_model(echo: Installation) -> None:
    base_id = new_base(echo)
    document = put(echo, base_id, "faq.md", FAQ)
    body = {"knowledge_type": 3, "sentence_size": 100}
    status, again = ask(echo, "PUT", f"{OPEN}/document/{document['id']}", body)
    assert (status, again["data"]["embedding_stat"]) == (200, 0)
    assert embedded(echo, document["id"])["chunk_num"] == 6
    status, _ = ask(echo, "PUT", f"{OPEN}/knowledge/{base_id}", {"name": "新名", "embedding_model": "ECHO"})
    assert status == 200
    status, base = ask(echo, "GET", f"{PAAS}/knowledge/{base_id}")
    assert (base["name"], base["data"]["document_size"]) == ("新名", 1)
    assert ask(echo, "POST", f"{OPEN}/document/embedding/{document['id']}", {})[0] == 200
    assert embedded(echo, document["id"])["embedding_stat"] == 1


def test_deletion_deletes_and_another_project_s_ids_do_not_exist(echo: Installation) -> None:
    _, key = echo.organisation("1")
    base_id, theirs = new_base(echo), new_base(echo, key)
    one, two = (put(echo, base_id, name, FAQ)["id"] for name in ("1.md", "2.md"))
    for method, path in (
        ("GET", f"/knowledge/{base_id}"),
        ("PUT", f"/knowledge/{base_id}"),
        ("DELETE", f"/knowledge/{base_id}"),
        ("GET", f"/document?knowledge_id={base_id}"),
        ("GET", f"/document/{one}"),
        ("PUT", f"/document/{one}"),
        ("POST", f"/document/embedding/{one}"),
        ("DELETE", f"/document/{one}"),
    ):
        status, told = ask(echo, method, OPEN + path, {} if method in ("PUT", "POST") else None, key=key)
        assert (status, told["error"]["code"]) == (404, "1214"), (method, path)
    assert search(echo, "x", base_id, key=key)[0] == search(echo, "x", theirs, base_id, key=key)[0] == 404
    assert upload(echo, base_id, "x.txt", b"x", key)["status"] == 404
    assert ask(echo, "DELETE", f"{PAAS}/document/{one}")[1]["deleted"] is True
    assert ask(echo, "GET", f"{PAAS}/files?purpose=retrieval&knowledge_id={base_id}")[1]["total"] == 1
    _, found = search(echo, "运费", base_id, recall_method="keyword")
    assert {each["metadata"]["doc_id"] for each in found} == {two}
    assert ask(echo, "DELETE", f"{PAAS}/files/{two}")[1] == {"id": two, "object": "file", "deleted": True}
    assert search(echo, "运费", base_id, recall_method="keyword") == (200, [])
    assert ask(echo, "DELETE", f"{OPEN}/knowledge/{base_id}")[0] == 200
    for path in (f"{OPEN}/knowledge/{base_id}", f"{PAAS}/files/{one}", f"{PAAS}/files/{two}", f"{OPEN}/document/{two}"):
        assert ask(echo, "GET", path)[0] == 404


def test_what_cannot_be_is_refused_by_its_field(echo: Installation) -> None:
    base_id = new_base(echo)
    document_id = put(echo, base_id, "a.txt", b"text")["id"]
    for path, body, field in (
        ("/knowledge", {"name": "x"}, "embedding_id"),
        ("/knowledge", {"embedding_id": 4, "name": "x"}, "embedding_id"),
        ("/knowledge", {"embedding_id": 11, "name": "x"}, "embedding_model"),
        ("/knowledge", {"embedding_model": "echo"}, "name"),
        ("/knowledge", {"embedding_model": "echo", "name": "a\0b"}, "name"),
        ("/knowledge", {"embedding_model": "echo", "name": "x" * 101}, "name"),
        ("/knowledge", {"embedding_model": "echo", "name": "x", "background": "black"}, "background"),
        ("/knowledge", {"embedding_model": "echo", "name": "x", "contextual": 1}, "contextual"),
        ("/knowledge/retrieve", {"query": "", "knowledge_ids": [base_id]}, "query"),
        ("/knowledge/retrieve", {"query": "x" * 1001, "knowledge_ids": [base_id]}, "query"),
        ("/knowledge/retrieve", {"query": "x", "knowledge_ids": []}, "knowledge_ids"),
        ("/knowledge/retrieve", {"query": "x", "knowledge_ids": [base_id], "top_k": 21}, "top_k"),
        ("/knowledge/retrieve", {"query": "x", "knowledge_ids": [base_id], "top_n": 0}, "top_n"),
        ("/knowledge/retrieve", {"query": "x", "knowledge_ids": [base_id], "recall_method": "y"}, "recall_method"),
        ("/knowledge/retrieve", {"query": "x", "knowledge_ids": [base_id], "recall_ratio": 101}, "recall_ratio"),
        ("/document/upload_url", {"knowledge_id": base_id, "upload_detail": []}, "upload_detail"),
    ):
        status, told = ask(echo, "POST", OPEN + path, body)
        assert (status, told["error"]["param"]) == (400, field), (path, body, told)
    for body, field in (
        ({"knowledge_type": 8}, "knowledge_type"),
        ({"sentence_size": 2001}, "sentence_size"),
        ({"callback_url": "http://127.0.0.1/"}, "callback_url"),
        ({"custom_separator": ["x" * 101]}, "custom_separator"),
        ({"id": "other"}, "id"),
    ):
        status, told = ask(echo, "PUT", f"{OPEN}/document/{document_id}", body)
        assert (status, told["error"]["param"]) == (400, field)
    body = {"purpose": "retrieval", "knowledge_id": base_id, "upload_detail": [{"url": "http://127.0.0.1/"}]}
    status, told = ask(echo, "POST", f"{PAAS}/files", body)
    assert (status, told["error"]["param"]) == (400, "upload_detail")
    for fields, field in (({}, "knowledge_id"), ({"knowledge_id": base_id, "parse_image": "true"}, "parse_image")):
        content = form("a.txt", b"x", "file", purpose="retrieval", **fields)
        status, _, answer = echo.ask("POST", f"{PAAS}/files", content, headers=MULTIPART)
        assert (status, json.loads(answer)["error"]["param"]) == (400, field)


def test_capacity_is_what_all_bases_of_a_project_have(echo: Installation) -> None:
    _, key = echo.organisation("1")
    put(echo, new_base(echo, key), "a.txt", "一二三".encode(), key)
    put(echo, new_base(echo, key), "b.txt", "四五".encode(), key)
    _, told = ask(echo, "GET", f"{OPEN}/knowledge/capacity", key=key)
    assert told["data"]["used"] == {"word_num": 5, "length": 15}
    assert told["total"]["word_num"] == 5_000_000
    assert ask(echo, "GET", f"{OPEN}/knowledge?page={2**63 - 1}&size=10", key=key)[0] == 400  # no number of SQL's
    _, page = ask(echo, "GET", f"{OPEN}/knowledge?page=2&size=1", key=key)
    assert (len(page["data"]["list"]), page["data"]["total"]) == (1, 2)


def test_a_file_that_never_ends_ends_with_the_program_that_reads_it(tmp_path: Path) -> None:
    """As the jobs program runs it: what takes too much memory is that document's failure, and of nobody else."""
    (tmp_path / "deep.json").write_bytes(b"[" * 3_000_000)
    command = [sys.executable, "-m", "openmaas.knowledge.reading", "json", str(tmp_path / "deep.json")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert b"no JSON" in done.stdout
    with pytest.raises(FieldInvalid, match="damaged"):
        asyncio.run(text_of("txt", tmp_path / "nowhere"))
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    assert asyncio.run(text_of("txt", tmp_path / "nul.txt")) == "a b"


@pytest.mark.parametrize(("missing", "kind", "told"), [("pypdf", "pdf", b"make setup-knowledge")])
def test_a_kind_that_needs_the_extra_says_so(tmp_path: Path, missing: str, kind: str, told: bytes) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from openmaas.knowledge.reading import main; sys.exit(main({kind!r}, {str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert told in done.stdout
