"""Model text on the page: what Markdown becomes, and that nothing in it does anything."""

from playwright.sync_api import expect

from harness import test

RENDER = """async (text) => {
    const { update } = await import("/markdown.js");
    const place = document.createElement("div");
    update(place, text);
    return place.innerHTML.replace(/ (tabindex|role|aria-label|target|rel|scope)="[^"]*"/g, "");
}"""


@test
def markdown_becomes_elements(desk):
    desk.chat()
    body = desk.ask("markdown").locator(".body")
    expect(body.locator("h3")).to_have_text("Light from ten candles")
    expect(body.locator("h4")).to_have_text("What it needs")
    expect(body.locator("strong").first).to_have_text("Argand lamp")
    expect(body.locator("em").first).to_have_text("hollow")
    expect(body.locator("del")).to_have_text("outside")
    link = body.get_by_role("link", name="the history")
    assert link.get_attribute("href") == "https://example.org/lamp"
    assert set(link.get_attribute("rel").split()) == {"noopener", "noreferrer", "nofollow"}
    expect(body.locator("ol > li")).to_have_count(3)
    expect(body.locator("ol ul > li code")).to_have_text("daily")
    expect(body.locator("li.task").first).to_contain_text("☑ lit")
    expect(body.locator("blockquote blockquote")).to_have_text("Said an owner.")
    expect(body.locator("tbody td").nth(4)).to_have_text("glass | crystal")
    expect(body.locator("td.right").first).to_have_text("12.50")
    expect(body.locator("figcaption span").filter(has_text="rust")).to_have_count(1)
    expect(body.locator(".t-word", has_text="fn")).to_have_count(1)
    expect(body.locator(".t-comment").last).to_have_text("# twice is better")
    expect(body.locator("hr")).to_have_count(1)


@test
def small_pieces_of_markdown(desk):
    page = desk.chat()
    cases = {
        "a*b*c d_e_f": "<p>a<em>b</em>c d_e_f</p>",
        "***both*** and **in *side* it**": "<p><em><strong>both</strong></em> and <strong>in <em>side</em> it</strong></p>",
        "2 * 3 * 4": "<p>2 * 3 * 4</p>",
        "\\*no\\* `` a`b ``": "<p>*no* <code>a`b</code></p>",
        "one\ntwo": "<p>one<br>two</p>",
        "# A #\ntext": '<h3 class="level1">A</h3><p>text</p>',
        "#no heading": "<p>#no heading</p>",
        "- a\n\n- b": "<ul><li><p>a</p></li><li><p>b</p></li></ul>",
        "- a\n- b\n\nend": "<ul><li>a</li><li>b</li></ul><p>end</p>",
        "3. c\n4. d": '<ol start="3"><li>c</li><li>d</li></ol>',
        "- a\n    - b\n        - c": "<ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li></ul>",
        "a\n***\nb": "<p>a</p><hr><p>b</p>",
        "1. x\n\n   more\n2. y": "<ol><li>x<p>more</p></li><li>y</li></ol>",
        "![pic](https://e.org/x.png)": '<p><a href="https://e.org/x.png">Picture: pic</a></p>',
        "[a](https://e.org/(b)) [c](/local)": '<p><a href="https://e.org/(b)">a</a> [c](/local)</p>',
        "see https://e.org/a_b. Or": '<p>see <a href="https://e.org/a_b">https://e.org/a_b</a>. Or</p>',
        "a | b": "<p>a | b</p>",
        "> a\nb\n\nc": "<blockquote><p>a<br>b</p></blockquote><p>c</p>",
    }
    wrong = {text: got for text, wanted in cases.items() if (got := page.evaluate(RENDER, text)) != wanted}
    assert not wrong, wrong


@test
def every_prefix_of_a_text_ends_as_the_whole(desk):
    """Growing piece by piece and building at once must not differ."""
    page = desk.chat()
    same = """async (text) => {
        const { update } = await import("/markdown.js");
        const grown = document.createElement("div");
        const whole = document.createElement("div");
        for (let i = 1; i <= text.length; i += 1) update(grown, text.slice(0, i));
        update(whole, text);
        return grown.innerHTML === whole.innerHTML;
    }"""
    import scripts

    assert page.evaluate(same, scripts.MARKDOWN)
    assert page.evaluate(same, scripts.HOSTILE)


@test
def what_is_there_stays_while_text_grows(desk):
    page = desk.chat()
    kept = """async () => {
        const { update } = await import("/markdown.js");
        const place = document.createElement("div");
        update(place, "# One\\n\\nfirst\\n\\nsec");
        const [heading, first, second] = place.children;
        update(place, "# One\\n\\nfirst\\n\\nsecond");
        return [place.children[0] === heading, place.children[1] === first, place.children[2] === second];
    }"""
    assert page.evaluate(kept) == [True, True, False]


@test
def hostile_text_stays_text(desk):
    page = desk.chat()
    answer = desk.ask("hostile")
    body = answer.locator(".body")
    expect(body).to_contain_text("<script>window.hacked = 1</script>")
    assert body.locator("script, img, iframe, svg:not(.icon), style, object, embed, form").count() == 0
    loose = """() => [...document.querySelectorAll(".body *")].flatMap((element) =>
        [...element.attributes].filter(({ name }) => name.startsWith("on") || name === "style" || name === "srcdoc").map(({ name }) => name))"""
    assert page.evaluate(loose) == []
    addresses = body.locator("a").evaluate_all("(links) => links.map((link) => link.protocol)")
    assert set(addresses) <= {"https:", "http:", "mailto:"}, addresses
    for link in body.locator("a").all():
        link.hover()
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    # Titles come from people and files; they are text as well.
    desk.ask("<img src=x onerror=window.hacked=20> hostile")
    page.keyboard.press("Control+k")
    desk.ask("<b onclick=window.hacked=21>bold</b>")
    expect(page.locator("#conversations a").first).to_have_text("<b onclick=window.hacked=21>bold</b>")
    assert page.evaluate("window.hacked") is None


@test
def long_runs_of_marks_cost_little(desk):
    page = desk.chat()
    slowest = page.evaluate(
        """async () => {
            const { update } = await import("/markdown.js");
            const marks = ["*", "_a", "**a ", "[", "![", "](", "`", "`` ` ", "<", "\\\\(", "$$", "> ", "- ", "|a", "| - ", "\\n- a", "#", "~~a ", "1. ", "[a](b "];
            let worst = [0, ""];
            for (const mark of marks) {
                const place = document.createElement("div");
                const start = performance.now();
                update(place, mark.repeat(8000));
                worst = [Math.max(worst[0], performance.now() - start), performance.now() - start > worst[0] ? mark : worst[1]];
            }
            return worst;
        }"""
    )
    assert slowest[0] < 2000, slowest


@test
def code_is_copied_as_it_is(desk):
    page = desk.chat()
    answer = desk.ask("markdown")
    answer.locator("figure .copy").first.click()
    expect(answer.locator("figure .copy").first).to_have_text("Copied")
    code = page.evaluate("navigator.clipboard.readText()")
    assert code.startswith("/// How bright") and code.endswith("}")
    answer.locator(".acts .copy").click()
    page.wait_for_timeout(100)
    assert page.evaluate("navigator.clipboard.readText()").startswith("# Light from ten candles")
    # On plain HTTP there is no clipboard interface.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    answer.locator("figure .copy").nth(1).click()
    expect(answer.locator("figure .copy").nth(1)).to_have_text("Copied")
