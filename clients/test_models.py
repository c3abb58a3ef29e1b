"""Models, embeddings, tokens, and what is said about the server."""

import base64

import openai
import pytest


def test_list(client, model):
    models = client.models.list().data
    assert model in [one.id for one in models]
    assert all(one.object == "model" and one.created > 0 and one.owned_by for one in models)


def test_retrieve(client, model):
    assert client.models.retrieve(model).id == model


@pytest.mark.parametrize("name", ["absent", "absent/with-a-slash", "ab sent"])
def test_unknown(client, name):
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve(name)
    assert error.value.code == "model_not_found" and name in error.value.message


@pytest.mark.parametrize("text", ["Hello, world", "", "Ünïcödé 🦀", "  two  spaces\n"])
def test_tokens_and_back(http, text):
    tokens = http.post("/tokenize", json={"content": text}).json()["tokens"]
    assert http.post("/detokenize", json={"tokens": tokens}).json() == {"content": text}


def test_tokens_of_nobody(http):
    assert http.post("/detokenize", json={"tokens": [10**9]}).status_code == 400


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health(http, path):
    answer = http.get(path)
    assert answer.status_code == 200 and answer.json()["status"]


def test_metrics(http):
    answer = http.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    assert "argand_start_time_seconds{" in answer.text and "# TYPE argand_generated_tokens_total counter" in answer.text


def test_pages(http):
    for path in ("/", "/admin"):
        answer = http.get(path, headers={"authorization": ""})
        assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
        assert http.head(path).status_code == 200


def test_pictures_are_to_come(client):
    with pytest.raises(openai.InternalServerError) as error:
        client.images.generate(prompt="a crab", model="any")
    assert error.value.status_code == 501


@pytest.fixture(scope="module")
def encoder(client, http):
    models = http.get("/v1/models").json()["data"]
    found = [one["id"] for one in models if "embeddings" in one.get("capabilities", [])]
    if not found:
        pytest.skip("no model of this server makes embeddings")
    return found[0]


def test_embeddings_as_numbers_and_base64(client, encoder):
    import struct

    texts = ["The sea.", "The ocean.", "A bicycle."]
    floats = client.embeddings.create(model=encoder, input=texts, encoding_format="float")
    packed = client.embeddings.with_raw_response.create(model=encoder, input=texts, encoding_format="base64").http_response.json()
    for i, one in enumerate(floats.data):
        assert one.index == i and one.object == "embedding"
        raw = base64.b64decode(packed["data"][i]["embedding"])
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(one.embedding, abs=1e-6)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0


def test_embeddings_as_the_client_asks(client, encoder):
    assert len(client.embeddings.create(model=encoder, input="The sea.").data[0].embedding) > 1


def test_embeddings_of_nothing(client, encoder):
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=encoder, input=[])
