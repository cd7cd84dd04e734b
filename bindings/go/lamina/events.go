package lamina

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Event is one operation that the daemon has done, or that has failed.
type Event struct {
	EventHead
	// Name is the snapshot's.
	Name string
	// Failure is why the operation failed. Nil: it is done.
	Failure error
	// AfterGap: events before this one may be missing, since the daemon was restarted or keeps fewer
	// events. Only a Follower sets it.
	AfterGap bool
	// Raw is the whole event.
	Raw json.RawMessage
}

// Report decodes the report of the operation into a *PauseReport, *ResumeReport, and so on. Fields
// that the event does not have are left as they are.
func (e Event) Report(report any) error {
	if e.Failure != nil {
		return e.Failure
	}
	if err := json.Unmarshal(e.Raw, report); err != nil {
		return fmt.Errorf("event %d: %w", e.Sequence, err)
	}
	return nil
}

// UnmarshalJSON reads one line of the daemon's reply.
func (e *Event) UnmarshalJSON(line []byte) error {
	var head EventHead
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	// The word "kind" is that of the failure, or that of the pause.
	var more struct {
		Name, Snapshot, Outcome, Message, Remedy string
		Kind                                     Kind
	}
	if err := json.Unmarshal(line, &more); err != nil {
		return err
	}
	*e = Event{EventHead: head, Name: more.Name, Raw: append(json.RawMessage(nil), line...)}
	if e.Name == "" {
		e.Name = more.Snapshot
	}
	if more.Outcome == "failed" {
		e.Failure = &Error{Operation: string(head.Event), Kind: more.Kind, Message: more.Message, Remedy: more.Remedy}
	}
	return nil
}

func decodeEvents(data []byte) ([]Event, error) {
	var events []Event
	for _, line := range bytes.Split(data, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var event Event
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("event %d of the reply: %w", len(events)+1, err)
		}
		events = append(events, event)
	}
	return events, nil
}

// Follower returns the daemon's events one after the other, and waits for new ones. It is for one
// goroutine.
type Follower struct {
	// Interval is how often the daemon is asked: it has no way to wait for an event.
	Interval time.Duration

	client *Client
	last   int64
	queue  []Event
}

// Follow returns a follower of the events after a sequence number. 0: all that the daemon keeps.
func (c *Client) Follow(after int64) *Follower {
	return &Follower{Interval: time.Second, client: c, last: after}
}

// Last is the sequence number of the last event that Next has returned: Follow(Last()) continues
// from there, also in another process.
func (f *Follower) Last() int64 { return f.last }

// Next returns the next event. After an error, which may be that the daemon is down for longer than
// Retry covers, it can be called again: no event is skipped.
func (f *Follower) Next(ctx context.Context) (Event, error) {
	for len(f.queue) == 0 {
		events, err := f.client.Events(ctx, EventsParams{After: f.last})
		if err != nil {
			return Event{}, err
		}
		if f.queue = events; len(events) > 0 {
			break
		}
		if err := f.client.wait(ctx, f.Interval); err != nil {
			return Event{}, err
		}
	}
	event := f.queue[0]
	f.queue = f.queue[1:]
	event.AfterGap = f.last != 0 && event.Sequence != f.last+1
	f.last = event.Sequence
	return event, nil
}
