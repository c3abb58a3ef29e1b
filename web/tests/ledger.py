"""Keys and usage as the made-up server tells them."""

import random
import time
from datetime import datetime, timedelta

DAY = 86_400


def limits(**given):
    none = dict.fromkeys(["requests_per_minute", "tokens_per_minute", "concurrent", "budget", "period", "period_tokens"])
    return {**none, **given}


def keys():
    now = int(time.time())
    rows = [
        ("k1", "ark-7hq2", "Web shop", "anna@example.org", ["inference"], ["lamp-7b"], limits(requests_per_minute=120, budget="50.00", period="month"), (41_220, 18_402_114, "31.42"), None),
        ("k2", "ark-p0c4", "Night reports", "ben@example.org", ["inference"], [], limits(concurrent=4, tokens_per_minute=60_000), (812, 4_100_200, "6.15"), None),
        ("k3", "ark-zz81", "Operations", "ops@example.org", ["inference", "admin"], [], limits(), (90, 20_112, "0.03"), None),
        ("k4", "ark-1d9x", "Intern, summer", "cleo@example.org", ["inference"], [], limits(budget="5.00", period="month"), (301, 77_001, "0.12"), now - 20 * DAY),
    ]
    return [
        {
            "id": id,
            "prefix": prefix,
            "name": name,
            "owner": owner,
            "scopes": scopes,
            "models": models,
            "created": now - 90 * DAY,
            "expires": now + 275 * DAY if id == "k1" else None,
            "revoked": revoked,
            "limits": limit,
            "used": dict(zip(("requests", "tokens", "cost"), used)),
        }
        for id, prefix, name, owner, scopes, models, limit, used, revoked in rows
    ]


def create(body):
    number = random.randrange(1000, 9999)
    used = {"requests": 0, "tokens": 0, "cost": "0"}
    start = {"id": f"k{number}", "prefix": f"ark-{number}", "created": int(time.time()), "expires": None, "revoked": None}
    return {**start, "models": [], "scopes": ["inference"], "limits": limits(), **body, "used": used}


def usage(query):
    """Rows that are the same for the same question."""
    by = query.get("by", "day")
    start, end = (datetime.fromisoformat(query[name].replace("Z", "+00:00")) for name in ("from", "to"))
    if by == "key":
        groups = ["Web shop", "Night reports", "Operations"]
    elif by == "model":
        groups = ["lamp-7b", "lamp-vision", "embedder"]
    else:
        step, shape = (timedelta(hours=1), "%Y-%m-%dT%H:00") if by == "hour" else (timedelta(days=1), "%Y-%m-%d")
        groups = [(start + step * i).strftime(shape) for i in range(min(800, int((end - start) / step) + 1))]
    rows = []
    for group in groups:
        made = random.Random(group)
        output = made.randrange(60_000, 420_000)
        read = output * made.randrange(4, 9)
        row = {"group": group, "requests": output // 300, "input": read, "cached": read * 6 // 10, "output": output}
        cost = None if group == "embedder" else f"{(read + 4 * output) / 1e6:.4f}"
        rows.append({**row, "cost": cost, "currency": cost and "EUR"})
    return rows
