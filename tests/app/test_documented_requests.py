"""Every request that docs/inference.md shows is one that the API has, with these fields, and none is missing there."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "inference.md"


def fields_of(schema, operation):
    """Names of the form's fields of a route in an OpenAPI document."""
    content = operation.get("requestBody", {}).get("content", {})
    forms = (schema["components"]["schemas"][kind["schema"]["$ref"].split("/")[-1]] for kind in content.values())
    return {name for form in forms for name in form["properties"]}


def test_the_requests_and_the_table_of_the_page_are_those_of_the_api(service):
    from x2vlm.app.server import create_app

    schema = create_app(service, page=False).openapi()
    fields = {path: fields_of(schema, route) for path, methods in schema["paths"].items() for route in methods.values()}
    text = PAGE.read_text()
    requests = re.findall(r"^curl \$API(/\w+)(.*)$", text, re.MULTILINE)
    rows = re.findall(r"^\| `(?:GET|POST) (/api/\w+)` \| (.*?) \|", text, re.MULTILINE)
    assert {f"/api{path}" for path, _ in requests} == {path for path, _ in rows} == set(fields)
    for path, options in requests:
        assert set(re.findall(r"-F '?(\w+)=", options)) <= fields[f"/api{path}"], path
    for path, cell in rows:
        assert set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell))) == fields[path], path
