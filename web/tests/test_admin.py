"""What the admin page does: figures that live, models, keys whose secret is shown once, usage and its file."""

import re

from playwright.sync_api import expect

from harness import soon, test
from test_access import check_with_axe


def admin(desk):
    desk.chat(key="admin-key", path="/admin.html")
    expect(desk.page.locator("#model-rows tr")).to_have_count(4)
    expect(desk.page.locator("#key-rows tr")).not_to_have_count(0)
    return desk.page


@test
def figures_and_plots_live(desk):
    page = admin(desk)
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator("#about")).to_have_text("0.4.0, up 3 d 4 h")
    expect(page.locator(".plot svg path.line")).to_have_count(4)
    expect(page.locator("#plot-generated svg")).to_have_attribute("aria-label", re.compile(r"now [\d.]+, at most [\d.]+"))
    with page.expect_response("**/admin/v1/state", timeout=4000):
        pass
    page.hover("#plot-generated")
    expect(page.locator("#plot-generated .pointer")).to_have_count(1)


@test
def models_are_loaded_and_pinned(desk):
    page = admin(desk)
    row = page.locator("#model-rows tr", has_text="org/sleepy-1b")
    expect(row).to_contain_text("unloaded")
    with page.expect_request("**/admin/v1/models/org%2Fsleepy-1b/load"):
        row.get_by_role("button", name="Load org/sleepy-1b").click()
    expect(row.get_by_role("button", name="Unload org/sleepy-1b")).to_be_visible()
    expect(row.get_by_role("button", name="Unload org/sleepy-1b")).to_be_focused()
    row.get_by_role("button", name="Pin org/sleepy-1b").click()
    expect(row).to_contain_text("pinned")
    # The poll builds the rows anew, and the focus stays where it was.
    unpin = row.get_by_role("button", name="Unpin org/sleepy-1b")
    unpin.focus()
    with page.expect_response("**/admin/v1/state", timeout=4000):
        pass
    expect(unpin).to_be_focused()


@test
def keys_are_made_and_their_secret_is_shown_once(desk):
    page = admin(desk)
    page.get_by_role("button", name="New key").click()
    name = page.locator("#new-key [name=name]")
    name.fill('<img src=x onerror="window.hacked=1">')
    page.get_by_label("Budget a period").fill("12.50")
    page.locator("#new-key [name=models]").fill("lamp-7b, embedder")
    with page.expect_request("**/admin/v1/keys") as sent:
        name.press("Enter")
    body = sent.value.post_data_json
    assert body["limits"] == {"budget": "12.50", "period": "month"}, body
    assert body["models"] == ["lamp-7b", "embedder"] and body["scopes"] == ["inference", "embeddings"] and "expires" not in body
    dialog = page.get_by_role("dialog", name="The key is made")
    secret = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == secret and len(secret) > 20
    dialog.get_by_role("button", name="I have it").click()
    assert secret not in page.content()
    expect(page.locator("#key-rows")).to_contain_text('<img src=x onerror="window.hacked=1">')
    assert page.evaluate("window.hacked") is None


@test
def keys_are_revoked_after_a_question(desk):
    page = admin(desk)
    row = page.locator("#key-rows tr", has_text="Night reports")
    row.get_by_role("button", name="Revoke Night reports").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Revoke Night reports").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    page.get_by_label("Show revoked and expired").check()
    expect(row).to_contain_text("revoked")
    expect(page.locator("#key-rows tr", has_text="Intern, summer")).to_have_count(1)


@test
def usage_is_drawn_summed_and_downloaded(desk):
    page = admin(desk)
    expect(page.locator("#plot-usage .bar")).to_have_count(30)
    page.get_by_label("by").select_option("model")
    expect(page.locator("#usage-rows tr")).to_have_count(3)
    expect(page.locator("#usage-rows tr", has_text="embedder")).to_contain_text("–")
    costs = page.locator("#usage-rows td:last-child").all_inner_texts()
    whole = sum(round(float(cost.split()[0]) * 10_000) for cost in costs if cost != "–")
    expect(page.locator("#usage-sum td").last).to_have_text(re.compile(rf"^{whole / 10_000:.2f}\d* EUR$"))
    with page.expect_download() as got:
        page.get_by_role("button", name="CSV").click()
    lines = got.value.path().read_text().split("\n")
    assert lines[0].strip() == "group,requests,input,cached,output,cost,currency" and len(lines) == 5
    assert got.value.suggested_filename.endswith("-by-model.csv")
    page.get_by_label("by").select_option("hour")
    soon(lambda: 690 < page.locator("#plot-usage .bar").count() <= 720)


@test
def a_key_without_the_scope_is_told(desk):
    desk.expected = ["403"]
    page = desk.chat(key="test-key", path="/admin.html")
    expect(page.locator("#key-reason")).to_have_text("This page needs a key with the scope admin.")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_timeout(2600)
    expect(page.locator("#key")).to_be_hidden()
    expect(page.locator("#problem")).to_contain_text("This key may not do that")
    page.get_by_role("button", name="API key").click()
    page.locator("#key input").fill("admin-key")
    page.keyboard.press("Enter")
    expect(page.locator("#model-rows tr")).to_have_count(4)
    expect(page.locator("#problem")).to_be_hidden()


@test
def axe_finds_nothing_in_the_admin_page(desk):
    for scheme in ("light", "dark"):
        page = desk.open(color_scheme=scheme)
        admin(desk)
        page.get_by_label("Show revoked and expired").check()
        check_with_axe(page, f"admin, {scheme}")
        page.get_by_role("button", name="New key").click()
        check_with_axe(page, f"new key, {scheme}")
        desk.context.close()
    desk.open()


@test
def the_admin_page_fits_a_phone(desk):
    page = desk.open(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    admin(desk)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("button", name="New key").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
