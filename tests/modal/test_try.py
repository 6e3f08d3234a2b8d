import threading, time
from tests.modal.conftest import *
import tests.modal.client as C
C.HANG_SECONDS=12
def test_x(plane, make_client):
    c = make_client()
    try:
        d = c.modal("deploy", "deploy/modal_app.py", MODAL_LOGLEVEL="DEBUG")
        print(d.stdout, d.stderr)
    except Exception as e: print(e.stdout, e.stderr and e.stderr.decode()[-3000:])
    print(plane.record.unexpected)
    print([n for n,_ in plane.record.calls])
    print(plane.functions.choices("serve_api"))
    assert d.returncode == 0
