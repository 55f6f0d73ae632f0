"""The page that shows a VM's screen; noVNC draws it."""

from __future__ import annotations

import html

__all__ = ["SCRIPT", "STYLE", "page", "sorry"]

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{name}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<header>
<strong>{name}</strong>
<span id="said" role="status">connecting</span>
<button id="keys" disabled>Ctrl-Alt-Del</button>
<button id="full">full screen</button>
</header>
<main id="screen"></main>
<script type="module" src="page.js"></script>
</html>
"""

STYLE = """\
html, body { height: 100%; margin: 0; background: #222; color: #ddd; font: 14px sans-serif; }
body { display: flex; flex-direction: column; }
header { display: flex; gap: 1em; align-items: center; height: 28px; padding: 0 8px; }
#said { flex: 1; }
#screen { flex: 1; min-height: 0; }
"""

# A connection that ends is tried again: the guest may have been started again.
SCRIPT = """\
import RFB from "./novnc/core/rfb.js";

const AGAIN_MS = 1000;
const [said, keys, full, screen] = ["said", "keys", "full", "screen"].map(
    (id) => document.getElementById(id));
const address = new URL("screen", location.href);
address.protocol = "ws:";
let viewer;

function show(text, connected) {
    said.textContent = text;
    keys.disabled = !connected;
    document.body.dataset.connected = connected;
}

function connect() {
    viewer = new RFB(screen, address.href, { shared: true });
    viewer.scaleViewport = true;
    viewer.focusOnClick = true;
    viewer.addEventListener("connect", () => show("", true));
    viewer.addEventListener("disconnect", () => {
        show("no screen: its vm-console has ended, or the guest is being started again", false);
        setTimeout(connect, AGAIN_MS);
    });
    viewer.addEventListener("credentialsrequired", () => {
        viewer.sendCredentials({ password: prompt("The screen's VNC password:") || "" });
    });
}

keys.addEventListener("click", () => { viewer.sendCtrlAltDel(); viewer.focus(); });
full.addEventListener("click", () => { screen.requestFullscreen(); viewer.focus(); });
connect();
"""

_SORRY = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vm-console</title><p>{text}</p></html>
"""


def page(name: str) -> bytes:
    """The page of a VM."""
    return _PAGE.format(name=html.escape(name)).encode()


def sorry(text: str) -> bytes:
    """A page that says why there is none."""
    return _SORRY.format(text=html.escape(text)).encode()
