"""What the chat page does: streaming, stopping, alternatives, editing, keeping, failing."""

import base64
import json
import re
import struct
import zlib

from playwright.sync_api import expect

from harness import soon, test


def png(width=3, height=2):
    """A red picture."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


@test
def answers_arrive_piece_by_piece(desk):
    page = desk.chat()
    desk.send("a slow one")
    body = desk.answers.last.locator(".body")
    expect(body).to_contain_text("word3 ")
    early = len(body.inner_text())
    expect(body).to_contain_text("word20 ")
    assert early < len(body.inner_text())
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#send")).to_be_hidden()
    sent = desk.server("/mock/requests")[-1]
    assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}
    assert sent["messages"] == [{"role": "user", "content": "a slow one"}]
    assert "temperature" not in sent and "seed" not in sent


@test
def stopping_keeps_what_came_and_ends_the_request(desk):
    page = desk.chat()
    desk.send("a slow one to stop")
    expect(desk.answers.last.locator(".body")).to_contain_text("word5 ")
    page.keyboard.press("Escape")
    expect(desk.answers.last).to_contain_text("Stopped.")
    kept = desk.answers.last.locator(".body").inner_text()
    assert "word5" in kept and "word300" not in kept
    soon(lambda: "a slow one to stop" in desk.server("/mock/aborted"))
    # The stop button does the same.
    desk.send("a slow one again")
    expect(desk.answers.last.locator(".body")).to_contain_text("word2 ")
    page.click("#stop")
    expect(desk.answers.last).to_contain_text("Stopped.")
    expect(page.locator("#question")).to_be_focused()
    page.reload()
    expect(desk.answers.first.locator(".body")).to_have_text(kept)


@test
def regenerating_keeps_the_alternatives(desk):
    page = desk.chat()
    desk.ask("colours")
    first = desk.answers.last
    expect(first).to_contain_text("Answer 1 to")
    first.get_by_role("button", name="Regenerate").click()
    expect(desk.answers.last).to_contain_text("Answer 2 to")
    expect(desk.answers).to_have_count(1)
    group = page.get_by_role("group", name="Alternatives")
    expect(group).to_contain_text("2 / 2")
    group.get_by_role("button", name="Previous alternative").click()
    expect(desk.answers.last).to_contain_text("Answer 1 to")
    page.reload()
    expect(desk.answers.last).to_contain_text("Answer 1 to")
    desk.ask("and more")
    assert [each["content"] for each in desk.server("/mock/requests")[-1]["messages"]][1].startswith("Answer 1 to")


@test
def editing_branches_and_keeps_the_old_branch(desk):
    page = desk.chat()
    desk.ask("first")
    desk.ask("second")
    desk.questions.first.hover()
    desk.questions.first.get_by_role("button", name="Edit").click()
    field = page.get_by_label("Edit your message")
    expect(field).to_be_focused()
    field.fill("changed")
    field.press("Enter")
    expect(desk.answers).to_have_count(1)
    expect(desk.answers.last).to_contain_text("Answer 3 to: changed")
    assert len(desk.server("/mock/requests")[-1]["messages"]) == 1
    desk.questions.first.get_by_role("button", name="Previous alternative").click()
    expect(desk.answers).to_have_count(2)
    expect(desk.answers.last).to_contain_text("Answer 2 to: second")
    desk.questions.first.get_by_role("button", name="Edit").click()
    field.press("Escape")
    expect(field).to_have_count(0)
    expect(desk.answers).to_have_count(2)


@test
def conversations_are_kept_renamed_searched_and_deleted(desk):
    page = desk.chat()
    desk.ask("about whales")
    page.keyboard.press("Control+k")
    expect(desk.answers).to_have_count(0)
    desk.ask("about lamps")
    listed = page.locator("#conversations a")
    expect(listed).to_have_text(["about lamps", "about whales"])
    page.fill("#question", "half a thou")
    page.reload()
    expect(desk.questions.last).to_contain_text("about lamps")
    expect(page.locator("#question")).to_have_value("half a thou")
    page.fill("#search", "answer 1 TO")
    expect(listed).to_have_text(["about whales"])
    page.fill("#search", "")
    listed.nth(1).click()
    expect(desk.questions.last).to_contain_text("about whales")
    more = page.get_by_role("button", name="More about “about whales”")
    more.click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_label("New name").fill("Big fish")
    page.get_by_label("New name").press("Enter")
    expect(listed).to_have_text(["about lamps", "Big fish"])
    expect(page).to_have_title("Big fish · Argand")
    page.get_by_role("button", name="More about “Big fish”").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(listed).to_have_text(["about lamps"])
    page.get_by_role("button", name="Undo").click()
    expect(listed).to_have_text(["about lamps", "Big fish"])
    page.reload()
    expect(listed).to_have_text(["about lamps", "Big fish"])


@test
def an_answer_goes_on_while_another_conversation_is_read(desk):
    page = desk.chat()
    desk.send("a slow one")
    expect(desk.answers.last.locator(".body")).to_contain_text("word2 ")
    page.keyboard.press("Control+k")
    desk.ask("quick")
    expect(desk.answers.last).to_contain_text("Answer 2 to: quick")
    page.locator("#conversations a", has_text="a slow one").click()
    expect(desk.answers.last.locator(".body")).to_contain_text("word20 ")
    expect(page.locator("#stop")).to_be_visible()


@test
def a_reload_midway_keeps_what_had_come(desk):
    page = desk.chat()
    desk.send("a slow one")
    expect(desk.answers.last.locator(".body")).to_contain_text("word70 ")
    page.reload()
    expect(desk.answers.last).to_contain_text("The page was closed before this answer was complete.")
    expect(desk.answers.last.locator(".body")).to_contain_text("word10 ")


@test
def options_reach_the_server_and_stay(desk):
    page = desk.chat()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.3")
    page.get_by_label("Max tokens").fill("99")
    page.get_by_label("Seed").fill("0")
    page.get_by_role("button", name="Done").click()
    page.select_option("#model", "org/sleepy-1b")
    desk.ask("hello")
    sent = desk.server("/mock/requests")[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.3, 99, 0) and "top_p" not in sent
    assert sent["model"] == "org/sleepy-1b"
    page.reload()
    expect(page.locator("#model")).to_have_value("org/sleepy-1b")
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")


@test
def figures_and_cost_are_shown_and_summed(desk):
    page = desk.chat()
    expect(desk.ask("one").locator(".figures")).to_contain_text(re.compile(r"\d+ tokens · .*first after .* · 0\.000123 EUR"))
    desk.ask("two")
    expect(page.locator("#counter")).to_have_text(re.compile(r"^\d+ of 8,192 tokens · 0\.000246 EUR$"))


@test
def thoughts_are_folded_and_tools_are_readable(desk):
    desk.chat()
    answer = desk.ask("think first")
    thought = answer.locator(".thought")
    expect(thought).to_be_hidden()
    answer.locator("summary").click()
    expect(thought).to_contain_text("First I weigh the question.")
    expect(thought.locator("strong")).to_have_text("two")
    tool = desk.ask("a tool").locator(".tool")
    expect(tool).to_contain_text("get_weather")
    expect(tool.locator("pre")).to_contain_text('"city": "Geneva"')
    desk.ask("and now")
    assert [each["role"] for each in desk.server("/mock/requests")[-1]["messages"]] == ["user", "assistant", "user", "user"]


@test
def pictures_by_button_paste_and_drop(desk):
    page = desk.chat()
    expect(page.locator("#attach")).to_be_hidden()
    page.select_option("#model", "lamp-vision")
    expect(page.locator("#attach")).to_be_visible()
    page.set_input_files("#file", {"name": "red.png", "mimeType": "image/png", "buffer": png()})
    expect(page.get_by_role("img", name="Picture: red.png")).to_be_visible()
    give = """([data, kind, event]) => {
        const carried = new DataTransfer();
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        carried.items.add(new File([bytes], event + ".png", { type: kind }));
        const made = event === "paste"
            ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true })
            : new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
        document.querySelector("#question").dispatchEvent(made);
    }"""
    data = base64.b64encode(png()).decode()
    page.evaluate(give, [data, "image/png", "paste"])
    page.evaluate(give, [data, "image/png", "drop"])
    expect(page.locator("#attached .picture")).to_have_count(3)
    page.get_by_role("button", name="Remove paste.png").click()
    expect(page.locator("#attached .picture")).to_have_count(2)
    desk.ask("what is in the picture?")
    content = desk.server("/mock/requests")[-1]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert base64.b64decode(content[0]["image_url"]["url"].removeprefix("data:image/png;base64,")) == png()
    red = "() => [...document.querySelector('.message canvas')?.getContext('2d').getImageData(0, 0, 1, 1).data ?? []]"
    soon(lambda: page.evaluate(red)[:1] == [255])
    page.reload()
    soon(lambda: page.evaluate(red)[:1] == [255])
    # A large picture is made smaller before it travels; what is no picture is refused.
    page.set_input_files("#file", {"name": "large.png", "mimeType": "image/png", "buffer": png(4096, 16)})
    page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no"})
    expect(page.locator("#toast")).to_contain_text("no.png cannot be read as a picture.")
    desk.ask("picture")
    url = desk.server("/mock/requests")[-1]["messages"][-1]["content"][0]["image_url"]["url"]
    assert struct.unpack(">II", base64.b64decode(url.split(",")[1])[16:24]) == (2048, 8)


@test
def without_a_key_it_is_asked_for_once(desk):
    desk.expected = ["401"]
    page = desk.chat(key=None)
    dialog = page.get_by_role("dialog", name="Your key")
    expect(dialog).to_be_visible()
    page.get_by_label("API key").last.fill("test-key")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#model")).to_have_value("lamp-7b")
    desk.ask("hello")
    page.reload()
    expect(page.locator("#model")).to_have_value("lamp-7b")
    expect(dialog).to_be_hidden()


@test
def a_key_that_ends_is_asked_for_and_the_answer_comes_then(desk):
    desk.expected = ["401"]
    page = desk.chat()
    page.evaluate("import('/api.js').then(({ key }) => key.set('ended'))")
    answer = desk.ask("hello")
    expect(answer).to_contain_text("The server asks for a key")
    answer.get_by_role("button", name="Enter a key").click()
    page.locator("#key input").fill("test-key")
    page.get_by_role("button", name="Save").click()
    expect(desk.answers.last).to_contain_text("Answer 1 to: hello")
    expect(desk.answers).to_have_count(1)


@test
def a_full_server_says_when_to_come_back(desk):
    desk.expected = ["429"]
    desk.chat()
    answer = desk.ask("server full")
    expect(answer).to_contain_text("All places are taken.")
    button = answer.get_by_role("button", name="Try again")
    expect(button).to_be_disabled()
    expect(button).to_have_text(re.compile(r"Try again in [12] s"))
    expect(button).to_have_text("Try again")
    button.click()
    expect(desk.answers.last).to_contain_text("Answer 2 to: server full")
    expect(desk.answers).to_have_count(1)
    expect(desk.page.get_by_role("group", name="Alternatives")).to_have_count(0)


@test
def failures_midway_keep_what_had_come(desk):
    desk.chat()
    for text, reason in [("fail midway", "The model ran out of memory."), ("lose line", "The answer ended before it was complete.")]:
        answer = desk.ask(text)
        expect(answer).to_contain_text(reason)
        expect(answer.locator(".body")).to_contain_text("Answer")
        expect(answer.get_by_role("button", name="Try again")).to_be_enabled()


@test
def a_server_that_is_gone_is_said(desk):
    desk.expected = ["ERR_INTERNET_DISCONNECTED", "500"]
    desk.chat()
    desk.context.set_offline(True)
    answer = desk.ask("hello")
    expect(answer).to_contain_text("The server cannot be reached")
    desk.context.set_offline(False)
    answer.get_by_role("button", name="Try again").click()
    expect(desk.answers.last).to_contain_text("Answer 1 to: hello")
    expect(desk.ask("server broken")).to_contain_text("Something inside failed.")
    expect(desk.ask("cut off")).to_contain_text("the limit of tokens is reached")


@test
def exports_can_be_read_back(desk):
    page = desk.chat()
    desk.ask("to keep")
    desk.answers.last.get_by_role("button", name="Regenerate").click()
    expect(desk.answers.last).to_contain_text("Answer 2")
    expect(desk.answers.last).to_have_attribute("aria-busy", "false")

    def exported(kind):
        page.get_by_role("button", name="More about “to keep”").click()
        with page.expect_download() as got:
            page.get_by_role("menuitem", name=kind).click()
        return got.value.suggested_filename, got.value.path().read_text()

    name, text = exported("Export as Markdown")
    assert name == "to-keep.md" and text.startswith("# to keep\n") and "## lamp-7b\n\nAnswer 2 to: to keep" in text
    name, text = exported("Export as JSON")
    assert name == "to-keep.json" and len(json.loads(text)["conversations"][0]["messages"]) == 3
    page.get_by_role("button", name="More about “to keep”").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.locator("#conversations a")).to_have_count(0)
    page.set_input_files("#import", {"name": "kept.json", "mimeType": "application/json", "buffer": text.encode()})
    page.locator("#conversations a").click()
    expect(desk.answers.last).to_contain_text("Answer 2 to: to keep")
    page.set_input_files("#import", {"name": "bad.json", "mimeType": "application/json", "buffer": b"{}"})
    expect(page.locator("#toast")).to_contain_text("bad.json: this is no export of conversations")


@test
def a_deleted_conversation_stays_deleted(desk):
    """Also when its answer was still being written."""
    page = desk.chat()
    desk.send("a slow one")
    expect(desk.answers.last.locator(".body")).to_contain_text("word5 ")
    page.get_by_role("button", name="More about “a slow one”").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.locator("#conversations a")).to_have_count(0)
    page.wait_for_timeout(400)
    page.reload()
    expect(page.locator("#conversations")).to_have_text("No conversations yet.")


@test
def without_a_database_the_page_works_and_says_so(desk):
    page = desk.page
    page.add_init_script("indexedDB.open = () => { throw new DOMException('no', 'SecurityError') }")
    desk.chat()
    expect(page.locator("#toast")).to_contain_text("conversations end with this page")
    desk.ask("hello")
    page.keyboard.press("Control+k")
    page.locator("#conversations a", has_text="hello").click()
    expect(desk.answers.last).to_contain_text("Answer 1 to: hello")


@test
def under_a_prefix_everything_works(desk):
    page = desk.chat(path="/some/prefix/")
    expect(page.locator("#model")).to_have_value("lamp-7b")
    expect(desk.ask("hello")).to_contain_text("Answer 1 to: hello")
    page.get_by_role("link", name="Admin").click()
    expect(page).to_have_url(desk.url + "/some/prefix/admin.html")
    desk.expected = ["403"]


@test
def scrolling_follows_until_the_reader_goes_away(desk):
    page = desk.chat()
    desk.send("many lines")
    expect(desk.answers.last.locator(".body")).to_contain_text("Line 40 ")
    gap = "() => { const s = document.querySelector('#scroller'); return s.scrollHeight - s.clientHeight - s.scrollTop }"
    assert page.evaluate(gap) < 60
    page.hover("#scroller")
    page.mouse.wheel(0, -400)
    expect(page.locator("#jump")).to_be_visible()
    top = page.evaluate("() => document.querySelector('#scroller').scrollTop")
    expect(desk.answers.last.locator(".body")).to_contain_text("Line 80 ")
    assert page.evaluate("() => document.querySelector('#scroller').scrollTop") == top
    page.click("#jump")
    expect(desk.answers.last).to_have_attribute("aria-busy", "false")
    assert page.evaluate(gap) < 60
    expect(page.locator("#jump")).to_be_hidden()


@test
def five_hundred_messages_stay_fast(desk):
    page = desk.chat()
    make = """async () => {
        const { Chat } = await import("/tree.js");
        const store = await import("/store.js");
        const chat = Chat.start({ model: "lamp-7b" });
        chat.head.title = "long";
        let parent = null;
        for (let i = 0; i < 500; i += 1) {
            const text = i % 2 ? `**Answer** ${i}\\n\\n- a\\n- b\\n\\n\\`\\`\\`python\\nfor x in range(${i}):\\n    print("x", x)  # go\\n\\`\\`\\`\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |` : `Question ${i}`;
            parent = chat.add(parent, i % 2 ? "assistant" : "user", { content: text, state: "done", model: "lamp-7b" }).id;
        }
        await store.save(chat.head, [...chat.messages.values()]);
        return chat.head.id;
    }"""
    id = page.evaluate(make)
    took = page.evaluate(
        """async (id) => {
            const start = performance.now();
            location.hash = id;
            while (document.querySelectorAll(".message").length < 500) await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            return performance.now() - start;
        }""",
        id,
    )
    assert took < 3000, f"opening took {took:.0f} ms"
    # Typing and streaming touch one message, not five hundred.
    typed = page.evaluate(
        """async () => {
            const field = document.querySelector("#question");
            const start = performance.now();
            for (let i = 0; i < 30; i += 1) {
                field.value += "x";
                field.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise(requestAnimationFrame);
            }
            field.value = "";
            return (performance.now() - start) / 30;
        }"""
    )
    assert typed < 80, f"a key took {typed:.0f} ms"
    gap = "() => { const s = document.querySelector('#scroller'); return s.scrollHeight - s.clientHeight - s.scrollTop }"
    soon(lambda: page.evaluate(gap) < 60)
    sent = page.evaluate(
        """async () => {
            const field = document.querySelector("#question");
            field.value = "hello";
            const start = performance.now();
            field.form.requestSubmit();
            while (document.querySelectorAll(".message").length < 502) await new Promise(requestAnimationFrame);
            return performance.now() - start;
        }"""
    )
    assert sent < 600, f"sending took {sent:.0f} ms"
    expect(desk.answers.last).to_contain_text("Answer 1 to: hello")
    soon(lambda: page.evaluate(gap) < 60)
    print(f"        500 messages: opened in {took:.0f} ms, {typed:.1f} ms a key, {sent:.0f} ms to send")
