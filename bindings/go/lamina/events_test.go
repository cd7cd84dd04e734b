package lamina

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

const (
	paused = `{"sequence": 5, "time": "2026-12-01T10:00:00.123456Z", "event": "pause", "name": "x", "outcome": "done", "kind": "diff", "snapshot": "x", "stored_bytes": 4096}` + "\n"
	failed = `{"sequence": 6, "time": "2026-12-01T10:00:01Z", "event": "resume", "name": "x", "outcome": "failed", "kind": "busy", "message": "m", "remedy": "r"}` + "\n"
	forked = `{"sequence": 9, "time": "2026-12-01T10:00:02Z", "event": "fork", "source": "x", "snapshot": "y"}` + "\n"
)

func TestEventsHaveTheirReports(t *testing.T) {
	events, err := newClient(newDaemon(t, replies(200, paused+failed+forked))).Events(testContext(t), EventsParams{})
	if err != nil || len(events) != 3 {
		t.Fatalf("%v, %v", events, err)
	}
	var report PauseReport
	if err := events[0].Report(&report); err != nil || report.Kind != PauseKindDiff || report.StoredBytes != 4096 {
		t.Errorf("%+v, %v", report, err)
	}
	if events[0].Event != EventKindPause || events[0].Time.Year() != 2026 || events[0].Failure != nil {
		t.Errorf("%+v", events[0])
	}
	if err := events[1].Report(&report); !errors.Is(err, KindBusy) || err.Error() != "resume: m; r" {
		t.Error(err)
	}
	if events[1].Name != "x" || events[2].Name != "y" {
		t.Errorf("%+v", events)
	}
}

func TestEventThatCannotBeReadIsNamed(t *testing.T) {
	_, err := newClient(newDaemon(t, replies(200, paused+"{\n"))).Events(testContext(t), EventsParams{})
	if err == nil {
		t.Error("half an event is an event")
	}
}

func TestFollowerAsksForNewEventsAndShowsGaps(t *testing.T) {
	daemon := newDaemon(t, replies(200, paused+failed), replies(200, ""), refuses(404, KindNotFound), replies(200, forked))
	client, ctx := newClient(daemon), testContext(t)
	var intervals []time.Duration
	client.wait = func(_ context.Context, delay time.Duration) error {
		intervals = append(intervals, delay)
		return nil
	}
	follower := client.Follow(4)
	follower.Interval = time.Minute
	seen := ""
	for i := 0; i < 4; i++ {
		event, err := follower.Next(ctx)
		if err != nil {
			if i != 2 || !errors.Is(err, KindNotFound) {
				t.Fatal(err)
			}
			seen += "error "
			continue
		}
		seen += fmt.Sprintf("%d:%t ", event.Sequence, event.AfterGap)
	}
	if want := "5:false 6:false error 9:true "; seen != want {
		t.Error(seen)
	}
	if len(intervals) != 1 || intervals[0] != time.Minute || follower.Last() != 9 {
		t.Error(intervals, follower.Last())
	}
	if got := daemon.seen(); got[0] != "GET /v1/events?after=4 " || got[3] != "GET /v1/events?after=6 " {
		t.Errorf("%q", got)
	}
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	client := newClient(newDaemon(t, replies(200, "")))
	ctx, cancel := context.WithCancel(testContext(t))
	client.wait = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}
	if _, err := client.Follow(0).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
