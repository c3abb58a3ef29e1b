"""For everybody: keyboard alone, screen readers, contrast, narrow pages, print, and the policy of the page."""

from playwright.sync_api import expect

from harness import axe_script, test

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def check_with_axe(page, where):
    """No violation that axe-core finds. The pages' policy forbids script elements, so its source is evaluated."""
    source = axe_script()
    if source is None:
        print("        axe-core is not installed: its checks are skipped")
        return
    page.evaluate(source + "; undefined")
    # Fading in is no contrast.
    page.wait_for_timeout(300)
    found = page.evaluate("(rules) => axe.run(document, rules)", RULES)["violations"]
    told = [f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for each in found for node in each["nodes"]]
    assert not told, f"{where}: " + "\n".join(told)


@test
def axe_finds_nothing_in_the_chat(desk):
    desk.expected = ["429"]
    for scheme in ("light", "dark"):
        page = desk.open(color_scheme=scheme)
        desk.chat()
        check_with_axe(page, f"{scheme}, empty")
        desk.ask("markdown")
        desk.ask("think of a tool")
        desk.ask(f"server full {scheme}")
        desk.answers.nth(1).locator("summary").first.click()
        check_with_axe(page, f"{scheme}, answers")
        page.get_by_role("button", name="Options").click()
        check_with_axe(page, f"{scheme}, options")
        page.keyboard.press("Escape")
        page.locator("#enter-key").click()
        check_with_axe(page, f"{scheme}, key")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="More about").first.click()
        check_with_axe(page, f"{scheme}, menu")
        desk.context.close()
    desk.open()


@test
def everything_by_keyboard_alone(desk):
    page = desk.chat()
    press = page.keyboard.press
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("one")
    press("Shift+Enter")
    page.keyboard.type("two")
    press("Enter")
    expect(desk.answers.last).to_contain_text("Answer 1 to: one")
    assert desk.server("/mock/requests")[-1]["messages"][0]["content"] == "one\ntwo"
    expect(desk.answers.last).to_have_attribute("aria-busy", "false")
    press("ArrowUp")
    expect(page.get_by_label("Edit your message")).to_be_focused()
    press("Control+a")
    page.keyboard.type("three")
    press("Enter")
    expect(desk.answers.last).to_contain_text("Answer 2 to: three")
    expect(desk.answers.last).to_have_attribute("aria-busy", "false")
    # Every stop of the tab key is visible, marked, and has a name.
    page.locator(".skip").focus()
    seen = []
    for _ in range(40):
        press("Tab")
        here = page.evaluate(
            """() => {
                const here = document.activeElement;
                if (here === document.body) return null;
                const style = getComputedStyle(here);
                const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                const boxed = here.id === "question" && getComputedStyle(here.closest("form")).boxShadow !== "none";
                const name = here.getAttribute("aria-label") || here.textContent.trim() || here.labels?.[0]?.textContent.trim();
                const acts = here.closest(".acts");
                const seen = !acts || acts.matches(":focus-within");
                return [here.id || here.className || here.tagName, Boolean(name), ring || boxed, seen];
            }"""
        )
        if here is None:
            break
        seen.append(here)
    assert all(named and ringed and visible for _, named, ringed, visible in seen), seen
    names = [each[0] for each in seen]
    assert {"new", "search", "model", "edit-options", "scroller", "question"} <= set(names), names
    # Menus: arrows walk, Escape gives the focus back.
    more = page.get_by_role("button", name="More about “one”")
    more.focus()
    press("Enter")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    press("Escape")
    expect(more).to_be_focused()


@test
def finished_answers_are_announced_once(desk):
    page = desk.chat()
    page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => {
                const text = document.querySelector("#announcer").textContent;
                if (text) window.said.push(text);
            }).observe(document.querySelector("#announcer"), { childList: true, characterData: true, subtree: true });
        }"""
    )
    desk.ask("a question")
    page.wait_for_timeout(300)
    assert page.evaluate("window.said") == ["Answer 1 to: a question"]
    live = page.locator("[aria-live]").evaluate_all("(all) => all.map(({ id }) => id)")
    assert live == ["announcer"]


@test
def a_phone_is_wide_enough(desk):
    page = desk.open(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    desk.chat()
    desk.ask("markdown")
    desk.ask("averylongwordwithoutanyspaces" * 8)
    wide = "() => [document.documentElement.scrollWidth, document.querySelector('#scroller').scrollWidth - document.querySelector('#scroller').clientWidth]"
    assert page.evaluate(wide) == [360, 0]
    expect(page.locator("#sidebar")).to_be_hidden()
    page.locator("#unfold").click()
    expect(page.locator("#sidebar")).to_be_visible()
    expect(page.locator("#fold")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.locator("#unfold").click()
    page.locator("#conversations a").first.click()
    expect(page.locator("#sidebar")).to_be_visible()
    page.locator("#fold").click()
    page.locator("#new-small").click()
    expect(desk.answers).to_have_count(0)
    assert page.evaluate(wide) == [360, 0]
    small = """() => [...document.querySelectorAll("main button, main select")].filter((each) => each.offsetParent)
        .map((each) => [each.id, each.getBoundingClientRect()]).filter(([, box]) => box.height < 24 || box.width < 24).map(([id]) => id)"""
    assert page.evaluate(small) == []


@test
def the_theme_is_chosen_and_kept(desk):
    page = desk.open(color_scheme="dark")
    desk.chat()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    switch = page.locator("[data-theme-switch]")
    expect(switch).to_have_attribute("aria-label", "Colours: system")
    switch.click()
    expect(switch).to_have_attribute("aria-label", "Colours: light")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    switch.click()
    assert page.evaluate(ground) == dark


@test
def print_shows_the_words_and_no_controls(desk):
    page = desk.chat()
    desk.ask("markdown")
    page.emulate_media(media="print")
    for hidden in ("#sidebar", "#composer", "#model", ".skip"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(desk.answers.last.locator(".body")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("markdown")
    # Nothing is cut off at the height of the window.
    assert page.evaluate("document.documentElement.scrollHeight > innerHeight")


@test
def the_policy_allows_no_inline_code(desk):
    """The policy is at work, and nothing of the page runs into it: the console is checked after every test."""
    page = desk.chat()
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.inline = 1'; document.body.append(s) }")
    assert page.evaluate("window.inline") is None
    assert any("Content Security Policy" in line for line in desk.said)
    desk.expected = ["Content Security Policy"]


@test
def a_link_brings_the_key_and_forgets_it(desk):
    page = desk.open()
    page.goto(f"{desk.url}/#key=test-key")
    expect(page.locator("#model option")).not_to_have_count(0)
    assert page.url == desk.url + "/", page.url
    assert page.evaluate("localStorage.getItem('argand.key')") == "test-key"
