// Reading reports of another process: a report survives a round trip, and in a document that is not
// a report, the error names the field.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "schema/error_json.h"
#include "schema/report_json.h"

namespace lamina::schema {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

PauseReport pause_report() {
  PauseReport report;
  report.snapshot = "/s/a";
  report.pause_id = Uuid::random();
  report.parent_pause_id = Uuid::random();
  report.is_diff = true;
  report.reason = "the base is known";
  report.generation = 3;
  report.memory_bytes = kMost;
  report.stored_bytes = 4096;
  report.unchanged_bytes = 8192;
  report.phases = {0.5, 1, 2.25, 3, 4, 5, 6, 7, 8};
  report.notes = {"one", "two"};
  return report;
}

ResumeReport resume_report() {
  ResumeReport report;
  report.snapshot = "/s/a";
  report.pause_id = Uuid::random();
  report.pid = std::numeric_limits<pid_t>::max();
  report.mode = ResumeMode::kFile;
  report.reason = "there is a file";
  report.started_page_server = true;
  report.pin_ms = 1.5;
  report.prepare_ms = 2;
  report.load_ms = 3;
  report.resume_ms = 4;
  report.notes = {"another version"};
  return report;
}

RecoverAnswer recover_answer() {
  ArrivalReport arrival;
  arrival.id = Uuid::random();
  arrival.name = "web";
  arrival.bucket = "s3://b/p";
  arrival.bytes = 4096;
  arrival.frames = 3;
  arrival.frames_here = 2;
  arrival.vms = 1;
  arrival.has_fetcher = arrival.is_lost = true;
  return {{1, 2, 3, 4, 5, 6, 7, 8, 9, {arrival}, {"note"}}, true};
}

ForkAnswer fork_answer() { return {{"/s/b", Uuid::random(), 7, 1, 2, 3, 4, {"copied"}}, 1.5}; }

LiveForkAnswer live_fork_answer() {
  LiveForkAnswer answer;
  answer.pause = pause_report();
  answer.clones = {{"/run/a", resume_report(), std::nullopt, 1.5},
                   {"/run/b", std::nullopt, Error{ErrorKind::kBusy, "it is busy"}, 2.5}};
  answer.readable_ms = 1;
  answer.clones_ms = 2;
  answer.durable_ms = 3;
  answer.notes = {"note"};
  return answer;
}

RemoveReport remove_report() {
  RemoveReport report;
  report.snapshots.push_back({"/s/a", std::nullopt, Uuid::random(), 1, 2, 3});
  report.snapshots.push_back(
      {"/s/b", Error{ErrorKind::kBusy, "it is busy"}, std::nullopt, 0, 0, 0});
  report.notes = {"twice"};
  return report;
}

CompactReport compact_report() {
  CompactReport report;
  report.snapshot = "/s/a";
  report.outcome = CompactOutcome::kMerged;
  report.policy = "full:cap=8,hard=32";
  report.pause_id = Uuid::random();
  report.layers_before = 8;
  report.layers_after = 1;
  report.merged_layers = std::numeric_limits<std::uint32_t>::max();
  report.read_bytes = 1;
  report.written_bytes = 2;
  report.cloned_bytes = 3;
  report.freed_bytes = 4;
  report.duplicated_bytes = 5;
  report.attempts = 2;
  report.next_pause_must_wait = true;
  report.notes = {"note"};
  return report;
}

/// A type of report: an example as JSON, and a function that reads JSON and writes it again.
struct Form {
  const char* name;
  Json document;
  std::function<Result<Json>(const Json&)> again;
};

template <typename Report>
Form form(const char* name, const Report& report) {
  const auto again = [](const Json& document) -> Result<Json> {
    auto known = from_json<Report>(document);
    if (!known) return std::unexpected(known.error());
    return to_json(*known);
  };
  return {name, to_json(report), again};
}

std::vector<Form> forms() {
  return {
      form("pause", pause_report()),
      form("resume", resume_report()),
      form("recover", recover_answer()),
      form("fork", fork_answer()),
      form("fork_live", live_fork_answer()),
      form("rm", answer_of(remove_report(), false)),
      form("compact", CompactAnswer{compact_report(), false, 1.5}),
  };
}

/// Fields that may be missing or null.
bool is_optional(const std::string& field) {
  return field == "parent_pause_id" || field == "pause_id" || field == "error";
}

TEST(FromJson, ReportSurvivesARoundTrip) {
  for (const Form& form : forms()) {
    const auto again = form.again(form.document);
    ASSERT_TRUE(again) << form.name << ": " << again.error().message;
    EXPECT_EQ(*again, form.document) << form.name;
    // As text, as it is sent over a socket.
    const auto parsed = form.again(Json::parse(json_text(form.document, 2)));
    ASSERT_TRUE(parsed) << form.name;
    EXPECT_EQ(*parsed, form.document) << form.name;
  }
}

TEST(FromJson, OptionalFieldsMayBeMissing) {
  PauseReport report = pause_report();
  report.parent_pause_id.reset();
  const Json document = to_json(report);
  EXPECT_FALSE(document.contains("parent_pause_id"));
  const auto again = from_json<PauseReport>(document);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->parent_pause_id);
}

TEST(FromJson, UnknownFieldsAreIgnored) {
  for (Form form : forms()) {
    form.document["of_a_later_version"] = {1, 2};
    EXPECT_TRUE(form.again(form.document)) << form.name;
  }
}

TEST(FromJson, MissingFieldIsNamed) {
  for (const Form& form : forms()) {
    for (const auto& [field, value] : form.document.items()) {
      if (field == "parent_pause_id") continue;
      Json document = form.document;
      document.erase(field);
      const auto again = form.again(document);
      ASSERT_FALSE(again) << form.name << " without " << field;
      EXPECT_EQ(again.error().kind, ErrorKind::kFailed);
      EXPECT_EQ(again.error().message, "field '" + field + "' is missing") << form.name;
    }
  }
}

TEST(FromJson, FieldOfAnotherTypeIsNamed) {
  const std::vector<Json> odd = {
      nullptr,          true,           -1,    1.5,  "text", Json::array(),
      Json::array({1}), Json::object(), 1e300, kMost};
  for (const Form& form : forms()) {
    for (const auto& [field, value] : form.document.items()) {
      for (const Json& wrong : odd) {
        Json document = form.document;
        document[field] = wrong;
        const auto again = form.again(document);
        if (again) {
          // The field accepts this value too: it has the right type, or the field may be null.
          EXPECT_TRUE(value.type() == wrong.type() || (value.is_number() && wrong.is_number()) ||
                      is_optional(field))
              << form.name << "." << field << " = " << wrong;
          continue;
        }
        EXPECT_NE(again.error().message.find(field), std::string::npos)
            << form.name << "." << field << " = " << wrong << ": " << again.error().message;
      }
    }
  }
}

TEST(FromJson, NumbersThatDoNotFitAreRefused) {
  Json resume = to_json(resume_report());
  resume["pid"] = std::int64_t{1} << 31;
  EXPECT_FALSE(from_json<ResumeReport>(resume));
  Json compact = to_json(CompactAnswer{compact_report(), false, 1});
  compact["layers_after"] = std::uint64_t{1} << 32;
  EXPECT_FALSE(from_json<CompactAnswer>(compact));
  Json pause = to_json(pause_report());
  pause["generation"] = -1;
  EXPECT_FALSE(from_json<PauseReport>(pause));
}

TEST(FromJson, NestedFieldIsNamedWithItsPath) {
  Json pause = to_json(pause_report());
  pause["phases"]["hook_ms"] = "long";
  EXPECT_EQ(from_json<PauseReport>(pause).error().message,
            "field 'phases.hook_ms' is not a number");
  pause["phases"] = 3;
  EXPECT_EQ(from_json<PauseReport>(pause).error().message, "field 'phases' is not an object");
  Json removal = to_json(answer_of(remove_report(), false));
  removal["snapshots"][1]["freed_bytes"] = -1;
  EXPECT_NE(from_json<RemoveAnswer>(removal).error().message.find("'snapshots[1].freed_bytes'"),
            std::string::npos);
  removal = to_json(answer_of(remove_report(), false));
  removal["snapshots"][1]["error"]["kind"] = 1;
  EXPECT_NE(from_json<RemoveAnswer>(removal).error().message.find("snapshots[1].error"),
            std::string::npos);
  removal["snapshots"] = {1};
  EXPECT_EQ(from_json<RemoveAnswer>(removal).error().message,
            "field 'snapshots[0]' is not an object");
}

TEST(FromJson, EachCloneRunsOrHasAnError) {
  const LiveForkAnswer answer = live_fork_answer();
  const LiveForkReport report = report_of(answer);
  ASSERT_EQ(report.clones.size(), 2U);
  EXPECT_EQ(report.clones[0].resumed->pid, answer.clones[0].resume->pid);
  EXPECT_EQ(report.clones[1].resumed.error().message, "it is busy");
  EXPECT_EQ(to_json(answer_of(report)), to_json(answer));
  Json neither = to_json(answer);
  neither["clones"][0]["resume"] = nullptr;
  const auto read = from_json<LiveForkAnswer>(neither);
  ASSERT_TRUE(read);
  EXPECT_FALSE(report_of(*read).clones[0].resumed);
  neither["clones"][0]["resume"] = {{"message_type", "resume"}};
  EXPECT_EQ(from_json<LiveForkAnswer>(neither).error().message,
            "field 'clones[0].resume.snapshot' is missing");
}

TEST(FromJson, DocumentThatIsNotAnObjectIsRefused) {
  for (const Json& document : {Json(), Json(1), Json("x"), Json::array({1}), Json(true),
                               Json::parse("{", nullptr, false)}) {
    for (const Form& form : forms()) EXPECT_FALSE(form.again(document)) << form.name;
    EXPECT_FALSE(error_from_json(document));
  }
  EXPECT_FALSE(from_json<PauseReport>(to_json(resume_report())));
}

TEST(FromJson, ErrorOfEachKindSurvivesARoundTrip) {
  for (const ErrorKind kind :
       {ErrorKind::kFailed, ErrorKind::kUsage, ErrorKind::kNotFound, ErrorKind::kCorrupt,
        ErrorKind::kBusy, ErrorKind::kNoSpace, ErrorKind::kInterrupted, ErrorKind::kExists,
        ErrorKind::kPermission, ErrorKind::kUnsupported}) {
    const Error error{kind, "write '/s/a': it is so", {}, 0, "do it again"};
    const auto again = error_from_json(error_json(error));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->kind, kind);
    EXPECT_EQ(again->message, error.message);
    EXPECT_EQ(again->remedy, error.remedy);
  }
}

TEST(FromJson, NotesAreReadAndFieldsOfAnErrorAreChecked) {
  const Json good = {{"kind", "busy"}, {"message", "m"}, {"notes", {"n"}}};
  ASSERT_TRUE(error_from_json(good));
  EXPECT_EQ(error_from_json(good)->notes, std::vector<std::string>{"n"});
  for (const char* field : {"kind", "message", "notes"}) {
    Json bad = good;
    bad[field] = 1;
    ASSERT_FALSE(error_from_json(bad));
    EXPECT_NE(error_from_json(bad).error().message.find(field), std::string::npos);
  }
}

TEST(FromJson, KindThatOnlyANewerProgramHasIsAFailure) {
  const auto error = error_from_json({{"kind", "angry"}, {"message", "m"}});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kFailed);
  EXPECT_EQ(error->message, "m");
}

}  // namespace
}  // namespace lamina::schema
