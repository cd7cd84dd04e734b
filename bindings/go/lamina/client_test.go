package lamina

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const health = `{"message_type": "health", "status": "ok", "store": "/s", "recovered": true,
 "page_server": false, "connections": 1, "requests": 2, "queued_merges": 3, "a_field_of_the_future": {}}`

func TestReportIsDecodedAndNewFieldsAreIgnored(t *testing.T) {
	report, err := newClient(newDaemon(t, replies(200, health))).Health(testContext(t))
	want := &Health{MessageType: "health", Status: "ok", Store: "/s", Recovered: true, Connections: 1, Requests: 2, QueuedMerges: 3}
	if err != nil || !reflect.DeepEqual(report, want) {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestOnlyGivenFieldsAreSent(t *testing.T) {
	daemon := newDaemon(t, replies(200, "{}"))
	client, ctx := newClient(daemon), testContext(t)
	_, _ = client.Pause(ctx, PauseRequest{APISocket: "/a", Name: "x"})
	_, _ = client.Resume(ctx, ResumeRequest{APISocket: "/a", Name: "x", Mode: ResumeModeFile, NetworkOverride: []string{"eth0=tap1"}})
	_, _ = client.List(ctx, ListParams{Tree: true})
	_, _ = client.Remove(ctx, "x", RemoveParams{DryRun: true})
	_, _ = client.Remove(ctx, "a/../b?c", RemoveParams{})
	_, _ = client.Compact(ctx, "x", CompactRequest{Rate: 1})
	_, _ = client.Events(ctx, EventsParams{After: 7})
	want := []string{
		`POST /v1/pause {"api_socket":"/a","name":"x"}`,
		`POST /v1/resume {"api_socket":"/a","name":"x","mode":"file","network_override":["eth0=tap1"]}`,
		"GET /v1/snapshots?tree=true ",
		"DELETE /v1/snapshots/x?dry_run=true ",
		"DELETE /v1/snapshots/a%2F..%2Fb%3Fc ",
		`POST /v1/snapshots/x/compact {"rate":1}`,
		"GET /v1/events?after=7 ",
	}
	if got := daemon.seen(); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestEmptyNameIsRefusedBeforeAnythingIsSent(t *testing.T) {
	daemon := newDaemon(t, replies(200, "{}"))
	_, err := newClient(daemon).Remove(testContext(t), "", RemoveParams{})
	if !errors.Is(err, KindUsage) || daemon.connections() != 0 {
		t.Errorf("%v, %d connections", err, daemon.connections())
	}
}

func TestErrorOfTheDaemonIsTyped(t *testing.T) {
	for kind, status := range map[Kind]int{
		KindFailed: 500, KindUsage: 400, KindNotFound: 404, KindExists: 409, KindPermission: 403, KindUnsupported: 501,
		KindCorrupt: 500, KindBusy: 409, KindNoSpace: 507, KindInterrupted: 503, "of_the_future": 500,
	} {
		_, err := newClient(newDaemon(t, refuses(status, kind))).Fork(testContext(t), ForkRequest{Snapshot: "a", New: "b"})
		want := &Error{Operation: "fork", Status: status, Kind: kind, Message: "what failed", Remedy: "what to do", Notes: []string{"a note"}}
		var got *Error
		if !errors.As(err, &got) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v", kind, err)
		}
		if !errors.Is(err, kind) || errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, KindNotFound) != (kind == KindNotFound) {
			t.Errorf("%s: errors.Is is wrong", kind)
		}
		if text := "fork: what failed; what to do"; err.Error() != text {
			t.Errorf("%s: '%v'", kind, err)
		}
	}
}

func TestErrorWithoutABodyIsAFailure(t *testing.T) {
	_, err := newClient(newDaemon(t, replies(502, "<html>"))).Health(testContext(t))
	if !errors.Is(err, KindFailed) || !strings.Contains(err.Error(), `status 502 and no error: "<html>"`) {
		t.Error(err)
	}
}

func TestFailureOfOneOfSeveralSnapshotsIsAnError(t *testing.T) {
	reply := `{"message_type": "rm", "dry_run": false, "notes": [], "snapshots": [
	  {"snapshot": "a", "removed": true, "error": null, "pause_id": null, "running_vms": 0, "freed_bytes": 1, "remaining_bytes": 0},
	  {"snapshot": "b", "removed": false, "error": {"kind": "not_found", "message": "no 'b'", "exit_code": 3}, "pause_id": null,
	   "running_vms": 0, "freed_bytes": 0, "remaining_bytes": 0}]}`
	removals, err := newClient(newDaemon(t, replies(200, reply))).RemoveSeveral(testContext(t), RemoveRequest{Snapshots: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	first, second := removals.Snapshots[0], removals.Snapshots[1]
	if first.Error != nil || first.PauseID != "" || !errors.Is(second.Error, KindNotFound) || second.Error.Error() != "no 'b'" {
		t.Errorf("%+v", removals)
	}
}

func TestRequestThatWasNotBegunIsRepeated(t *testing.T) {
	for _, refusal := range []step{refuses(409, KindBusy), refuses(503, KindBusy)} {
		daemon := newDaemon(t, refusal, refusal, replies(200, `{"snapshot": "x"}`))
		report, err := newClient(daemon).Pause(testContext(t), PauseRequest{APISocket: "/a", Name: "x"})
		if err != nil || report.Snapshot != "x" || len(daemon.seen()) != 3 {
			t.Errorf("%+v, %v, %q", report, err, daemon.seen())
		}
	}
}

func TestRepetitionsEnd(t *testing.T) {
	daemon := newDaemon(t, refuses(409, KindBusy))
	_, err := newClient(daemon).Pause(testContext(t), PauseRequest{})
	if !errors.Is(err, KindBusy) || daemon.connections() != DefaultRetry.Attempts {
		t.Errorf("%v after %d requests", err, daemon.connections())
	}
	daemon = newDaemon(t, refuses(409, KindBusy))
	_, err = newClient(daemon, WithRetry(Retry{})).Pause(testContext(t), PauseRequest{})
	if !errors.Is(err, KindBusy) || daemon.connections() != 1 {
		t.Errorf("%v after %d requests", err, daemon.connections())
	}
}

func TestOtherErrorsAreNotRepeated(t *testing.T) {
	for kind, status := range map[Kind]int{KindExists: 409, KindInterrupted: 503, KindFailed: 500, KindNoSpace: 507, KindNotFound: 404} {
		daemon := newDaemon(t, refuses(status, kind))
		_, err := newClient(daemon).Resume(testContext(t), ResumeRequest{})
		if !errors.Is(err, kind) || daemon.connections() != 1 {
			t.Errorf("%s: %v after %d requests", kind, err, daemon.connections())
		}
	}
}

func TestChangeWithoutAReplyIsNeverRepeated(t *testing.T) {
	ctx := testContext(t)
	for name, change := range map[string]func(*Client) error{
		"pause":   func(c *Client) error { _, err := c.Pause(ctx, PauseRequest{}); return err },
		"recover": func(c *Client) error { _, err := c.Recover(ctx, RecoverRequest{}); return err },
		"remove":  func(c *Client) error { _, err := c.Remove(ctx, "x", RemoveParams{}); return err },
	} {
		daemon := newDaemon(t, hangsUp)
		err := change(newClient(daemon))
		var transport *TransportError
		if !errors.Is(err, ErrOutcomeUnknown) || !errors.As(err, &transport) || !transport.Sent || daemon.connections() != 1 {
			t.Errorf("%s: %v after %d requests", name, err, daemon.connections())
		}
	}
}

func TestReadWithoutAReplyIsRepeated(t *testing.T) {
	daemon := newDaemon(t, hangsUp, hangsUp, replies(200, health))
	if report, err := newClient(daemon).Health(testContext(t)); err != nil || report.Status != "ok" {
		t.Errorf("%+v, %v", report, err)
	}
	daemon = newDaemon(t, hangsUp)
	_, err := newClient(daemon).Health(testContext(t))
	if err == nil || errors.Is(err, ErrOutcomeUnknown) || daemon.connections() != DefaultRetry.Attempts {
		t.Errorf("%v after %d requests", err, daemon.connections())
	}
}

func TestRestartOfTheDaemonIsOutlasted(t *testing.T) {
	daemon := newDaemon(t, replies(200, "{}"))
	daemon.close() // removes the socket: ENOENT
	client := newClient(daemon)
	waits := 0
	client.wait = func(context.Context, time.Duration) error {
		waits++
		switch waits {
		case 1: // a socket of a killed daemon: ECONNREFUSED
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: daemon.socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			listener.SetUnlinkOnClose(false)
			listener.Close()
		case 2:
			if err := os.Remove(daemon.socket); err != nil {
				t.Fatal(err)
			}
			daemon.listen()
		}
		return nil
	}
	if _, err := client.Pause(testContext(t), PauseRequest{}); err != nil || waits != 2 {
		t.Errorf("%v after %d waits", err, waits)
	}
}

func TestUnreachableDaemonIsReported(t *testing.T) {
	client := New(socketPath(t), WithRetry(Retry{}))
	_, err := client.Pause(testContext(t), PauseRequest{})
	var transport *TransportError
	if !errors.Is(err, syscall.ENOENT) || errors.Is(err, ErrOutcomeUnknown) || !errors.As(err, &transport) || transport.Sent ||
		!strings.Contains(err.Error(), client.socket) {
		t.Error(err)
	}
}

func TestEndOfTheContextEndsTheWaitForAReply(t *testing.T) {
	received := make(chan struct{}, 1)
	client := newClient(newDaemon(t, waits(received)))
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-received
		cancel()
	}()
	_, err := client.Pause(ctx, PauseRequest{})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrOutcomeUnknown) {
		t.Error(err)
	}

	// Nothing is sent when it has ended before.
	daemon := newDaemon(t, replies(200, "{}"))
	_, err = newClient(daemon).Pause(ctx, PauseRequest{})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) || len(daemon.seen()) != 0 {
		t.Errorf("%v, %q", err, daemon.seen())
	}
}

func TestTimeoutIsForCallsWithoutADeadline(t *testing.T) {
	received := make(chan struct{}, 1)
	client := newClient(newDaemon(t, waits(received)), WithTimeout(time.Millisecond))
	_, err := client.Health(context.Background())
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrOutcomeUnknown) {
		t.Error(err)
	}
	client = newClient(newDaemon(t, replies(200, health)), WithTimeout(time.Nanosecond))
	if _, err := client.Health(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestEndOfTheContextEndsRepetitions(t *testing.T) {
	client := newClient(newDaemon(t, refuses(409, KindBusy)))
	client.wait = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
	_, err := client.Pause(testContext(t), PauseRequest{})
	var reply *Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, KindBusy) || errors.Is(err, ErrOutcomeUnknown) ||
		!errors.As(err, &reply) || reply.Message != "what failed" {
		t.Error(err)
	}
}

// A daemon that has no room for a connection, or for its user, replies and closes it unread.
func TestRefusalOfTheConnectionIsReadThoughTheRequestCannotBeSent(t *testing.T) {
	refused := make(chan struct{})
	daemon := newDaemon(t, func(_ *scriptedDaemon, conn net.Conn) {
		_, _ = io.WriteString(conn, response(403, `{"error": {"kind": "usage", "message": "not you", "notes": []}}`))
		conn.Close()
		close(refused)
	})
	client := newClient(daemon, WithRetry(Retry{}))
	// The request is larger than the socket's buffer, so that writing it fails in any case.
	request := PauseRequest{FrozenHook: strings.Repeat("x", 4<<20)}
	_, err := client.Pause(testContext(t), request)
	<-refused
	if !errors.Is(err, KindUsage) || !strings.Contains(err.Error(), "not you") {
		t.Error(err)
	}
}

// One that was sent in part is not carried out, so it can be repeated.
func TestRequestThatWasSentInPartIsRepeated(t *testing.T) {
	daemon := newDaemon(t, func(_ *scriptedDaemon, conn net.Conn) {}, replies(200, "{}"))
	if _, err := newClient(daemon).Pause(testContext(t), PauseRequest{FrozenHook: strings.Repeat("x", 4<<20)}); err != nil {
		t.Error(err)
	}
	if daemon.connections() != 2 {
		t.Errorf("%d connections", daemon.connections())
	}
}

func TestReplyThatIsCutOffAnywhereIsNoReply(t *testing.T) {
	ctx := testContext(t)
	whole := response(200, health)
	for length := 0; length < len(whole); length++ {
		_, err := newClient(newDaemon(t, sends(whole[:length]))).Pause(ctx, PauseRequest{})
		if !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatalf("%d of %d bytes: %v", length, len(whole), err)
		}
	}
	if _, err := newClient(newDaemon(t, sends("HTTP/1.1 200 OK\r\n\r\n"+health))).Pause(ctx, PauseRequest{}); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("without a length: %v", err)
	}
	if _, err := newClient(newDaemon(t, sends("SSH-2.0-OpenSSH\r\n"))).Pause(ctx, PauseRequest{}); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("not HTTP: %v", err)
	}
}

func TestReplyThatIsNotJSONIsAnErrorAndNotRepeated(t *testing.T) {
	daemon := newDaemon(t, replies(200, `{"status": 1}`))
	_, err := newClient(daemon).Health(testContext(t))
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) || daemon.connections() != 1 {
		t.Errorf("%v after %d requests", err, daemon.connections())
	}
}

func TestReplyHasALimit(t *testing.T) {
	daemon := newDaemon(t, replies(200, health))
	client := newClient(daemon)
	client.maxReplyBytes = int64(len(health)) - 1
	if _, err := client.Health(testContext(t)); !errors.Is(err, errTooLarge) || daemon.connections() != 1 {
		t.Errorf("%v after %d requests", err, daemon.connections())
	}
	client.maxReplyBytes++
	if _, err := client.Health(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestNothingIsSentToAProcessOfAnotherUser(t *testing.T) {
	daemon := newDaemon(t, replies(200, health))
	uid := uint32(os.Getuid())
	_, err := newClient(daemon, WithPeerUID(uid+1)).Health(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "nothing was sent") || daemon.connections() > 1 || len(daemon.seen()) != 0 {
		t.Errorf("%v, %q", err, daemon.seen())
	}
	if _, err := newClient(newDaemon(t, replies(200, health)), WithPeerUID(uid)).Health(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestClientMayBeUsedByManyGoroutines(t *testing.T) {
	daemon := newDaemon(t, refuses(503, KindBusy), refuses(409, KindBusy), replies(200, health))
	client, ctx := newClient(daemon), testContext(t)
	var all sync.WaitGroup
	for i := 0; i < 16; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := client.Health(ctx); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
}

func TestDelaysGrowToTheirLimit(t *testing.T) {
	client := New("", WithRetry(Retry{Attempts: 100, Delay: 100 * time.Millisecond, MaxDelay: time.Second}))
	for attempt, longest := range map[int]time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 99: 1000} {
		longest *= time.Millisecond
		if delay := client.delay(attempt); delay < longest/2 || delay > longest {
			t.Errorf("attempt %d: %v, not %v", attempt, delay, longest)
		}
	}
	client.retry = Retry{Attempts: 3}
	if delay := client.delay(2); delay != 0 {
		t.Error(delay)
	}
}

func TestParseMetrics(t *testing.T) {
	values, err := ParseMetrics("# HELP a A.\n# TYPE a counter\na 1\nb{kind=\"x y\",le=\"+Inf\"} 2.5e3\n")
	if want := map[string]float64{"a": 1, `b{kind="x y",le="+Inf"}`: 2500}; err != nil || !reflect.DeepEqual(values, want) {
		t.Errorf("%v, %v", values, err)
	}
	for _, wrong := range []string{"a\n", "a b\n", " 1\n"} {
		if values, err := ParseMetrics(wrong); err == nil {
			t.Errorf("%q: %v", wrong, values)
		}
	}
}
