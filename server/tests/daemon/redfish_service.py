"""A Redfish service for tests, written after DMTF's DSP0266 and the ComputerSystem schema: one program, several kinds of
BMC. Arguments: port, kind, and for TLS a file with certificate and key. What it is told goes to standard output."""

import base64
import http.server
import json
import ssl
import sys

PORT, KIND = int(sys.argv[1]), sys.argv[2]
USER, PASSWORD = "admin", "gEheim-7$x"
RESETS = ["On", "ForceOff", "GracefulShutdown", "ForceRestart", "Nmi"] + ([] if KIND == "plain" else ["PowerCycle"])
SYSTEMS = ["1", "2"] if KIND == "two" else ["1"]
sessions = {}
made = 0
systems = {
    name: {
        "PowerState": "Off",
        "Boot": {"BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideMode": "Legacy"},
        "etag": 1,
    }
    for name in SYSTEMS
}
AFTER = {"On": "On", "ForceOff": "Off", "GracefulShutdown": "Off", "ForceRestart": "On", "PowerCycle": "On", "Nmi": "On"}


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def answer(self, status, document=None, **headers):
        body = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, text):
        self.answer(status, {"error": {"code": "Base.1.0.GeneralError", "@Message.ExtendedInfo": [{"Message": text}]}})

    def allowed(self):
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("X-Auth-Token") in sessions or self.headers.get("Authorization") == basic:
            return True
        self.refuse(401, "Log in first.")
        return False

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def do_POST(self):
        global made
        document = self.body()
        if self.path == "/redfish/v1/SessionService/Sessions":
            if KIND == "plain":
                return self.refuse(404, "There is no session service.")
            if (document["UserName"], document["Password"]) != (USER, PASSWORD):
                return self.refuse(401, "The user name or password is wrong.")
            made += 1
            token = f"token{made}"
            sessions[token] = f"{self.path}/{made}"
            return self.answer(201, {}, X_Auth_Token=token, Location=sessions[token])
        if not self.allowed():
            return None
        name = self.path.split("/")[4]
        kind = document["ResetType"]
        print("reset", name, kind, flush=True)
        if KIND == "deaf":
            self.close_connection = True
            return None
        if kind not in RESETS:
            return self.refuse(400, f"The value {kind} is not supported.")
        systems[name]["PowerState"] = AFTER[kind]
        return self.answer(204)

    def do_DELETE(self):
        for token, path in list(sessions.items()):
            if path == self.path and self.headers.get("X-Auth-Token") == token:
                del sessions[token]
        print("sessions", len(sessions), flush=True)
        self.answer(204)

    def do_PATCH(self):
        document = self.body()
        if not self.allowed():
            return None
        system = systems[self.path.split("/")[4]]
        if self.headers.get("If-Match") != f'W/"{system["etag"]}"':
            return self.refuse(412, "The resource has changed.")
        boot = document["Boot"]
        print("boot", *(f"{key[18:]}={value}" for key, value in sorted(boot.items())), flush=True)
        if boot["BootSourceOverrideTarget"] == "Floppy":
            return self.answer(204)
        system["Boot"].update(boot)
        system["etag"] += 1
        return self.answer(204)

    def do_GET(self):
        if not self.allowed():
            return None
        parts = self.path.strip("/").split("/")
        if len(parts) == 3:
            members = [{"@odata.id": f"/redfish/v1/Systems/{name}"} for name in SYSTEMS]
            return self.answer(200, {"Members": members})
        system = systems[parts[3]]
        reset = {"target": f"/redfish/v1/Systems/{parts[3]}/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": RESETS}
        document = {"PowerState": system["PowerState"], "Boot": system["Boot"], "Actions": {"#ComputerSystem.Reset": reset}}
        return self.answer(200, document, ETag=f'W/"{system["etag"]}"')


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Service)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
