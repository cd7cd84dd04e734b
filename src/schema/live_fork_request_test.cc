// A request with a list of objects: written and read again, and errors that name the object.
#include "schema/live_fork_request.h"

#include <gtest/gtest.h>

#include <string>

#include "schema/request_reader.h"
#include "schema/request_writer.h"

namespace lamina::schema {
namespace {

LiveForkOptions live_fork_options() {
  LiveForkOptions options;
  options.pause.vmm.api_socket = "source";
  options.pause.vmm.timeouts.request = std::chrono::seconds(7);
  options.pause.name = "a";
  options.pause.after = AfterPause::kStay;
  options.pause.replace = true;
  options.resume.mode = ResumeMode::kFile;
  options.resume.stay_paused = true;
  for (const char* socket : {"one", "two"}) {
    VmmAddress& clone = options.clones.emplace_back();
    clone.api_socket = socket;
    clone.jail = std::string("jail-") + socket;
    CloneDevices& own = options.devices.emplace_back();
    own.network_overrides = {{"eth0", std::string("tap-") + socket}};
    own.drive_overrides = {{"_disk0", std::string("/disk-") + socket}};
    own.vsock_override = "/vsock";
    own.serial_override = "/serial";
    own.console_override = "/console";
  }
  return options;
}

/// As it is sent: as text.
Json written(const LiveForkOptions& options) {
  const Json document = RequestWriter::write(
      request_of(options), {.path = [](const std::string& path) { return "/dir/" + path; },
                            .name = [](const std::string& name) { return name; }});
  return Json::parse(document.dump());
}

Result<LiveForkOptions> read(Json document) {
  RequestReader reader(std::move(document), RequestReader::Source::kBody);
  LiveForkRequest request;
  describe(reader, request);
  if (const Status end = reader.end(); !end) return std::unexpected(end.error());
  return options_of(std::move(request));
}

std::string message_of(const Json& document) {
  const auto known = read(document);
  return known ? "" : known.error().message;
}

TEST(LiveForkRequest, ARequestSurvivesARoundTrip) {
  const auto again = read(written(live_fork_options()));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->pause.vmm.api_socket, "/dir/source");
  EXPECT_EQ(again->pause.after, AfterPause::kStay);
  EXPECT_TRUE(again->pause.replace);
  EXPECT_EQ(again->resume.mode, ResumeMode::kFile);
  EXPECT_TRUE(again->resume.stay_paused);
  ASSERT_EQ(again->clones.size(), 2U);
  ASSERT_EQ(again->devices.size(), 2U);
  EXPECT_EQ(again->clones[1].api_socket, "/dir/two");
  EXPECT_EQ(again->clones[1].jail, "/dir/jail-two");
  EXPECT_EQ(again->clones[1].timeouts.request, std::chrono::seconds(7)) << "as the source's";
  EXPECT_EQ(again->devices[0].network_overrides[0].host_device, "tap-one");
  EXPECT_EQ(again->devices[1].drive_overrides[0].path, "/disk-two");
  EXPECT_EQ(again->devices[1].vsock_override, "/vsock");
  EXPECT_EQ(again->devices[1].serial_override, "/serial");
  EXPECT_EQ(again->devices[1].console_override, "/console");
}

TEST(LiveForkRequest, DefaultsAreNotWritten) {
  LiveForkOptions options;
  options.pause.vmm.api_socket = "source";
  options.pause.name = "a";
  options.pause.after = AfterPause::kResume;
  options.clones.emplace_back().api_socket = "one";
  const Json document = written(options);
  EXPECT_EQ(document.size(), 3U) << document;
  EXPECT_EQ(document["api_socket"], "/dir/source");
  EXPECT_EQ(document["name"], "a");
  ASSERT_EQ(document["clones"].size(), 1U);
  EXPECT_EQ(document["clones"][0].size(), 1U) << document;
  EXPECT_EQ(document["clones"][0]["api_socket"], "/dir/one");
  EXPECT_EQ(read(written(options))->pause.after, AfterPause::kResume);
}

TEST(LiveForkRequest, ErrorsNameTheClone) {
  const Json good = written(live_fork_options());
  ASSERT_EQ(message_of(good), "");
  Json bad = good;
  bad["clones"][1].erase("api_socket");
  EXPECT_EQ(message_of(bad), "field 'clones[1].api_socket' is missing");
  bad = good;
  bad["clones"][1]["jail"] = 7;
  EXPECT_EQ(message_of(bad), "field 'clones[1].jail' is not a text");
  bad["clones"][0]["drive_override"] = {"disk"};
  EXPECT_NE(message_of(bad).find("'clones[0].drive_override' has 'disk'"), std::string::npos);
  bad["clones"][0] = {{"odd", 1}, {"api_socket", "/one"}};
  EXPECT_NE(message_of(bad).find("'clones[0].odd' is not known"), std::string::npos);
  bad["clones"][0] = "one";
  EXPECT_EQ(message_of(bad), "field 'clones[0]' is not an object");
  bad["clones"] = 1;
  EXPECT_EQ(message_of(bad), "field 'clones' is not a list of objects");
  bad.erase("clones");
  EXPECT_EQ(message_of(bad), "field 'clones' is missing");
  // Of the whole request, before what is wrong in a clone.
  bad = good;
  bad["clones"][0] = 1;
  bad["odd"] = 1;
  EXPECT_NE(message_of(bad).find("field 'odd' is not known"), std::string::npos);
}

TEST(LiveForkRequest, AnObjectThatIsNestedDeeplyIsRefused) {
  constexpr std::size_t kDepth = 30'000;
  Json document = Json::parse(R"({"api_socket": "/a", "name": "a", "clones": [{"api_socket": )" +
                              std::string(kDepth, '[') + std::string(kDepth, ']') + "}]}");
  RequestReader reader(std::move(document), RequestReader::Source::kBody);
  LiveForkRequest request;
  describe(reader, request);
  EXPECT_EQ(reader.end().error().message, "field 'clones[0].api_socket' is not a text");
}

}  // namespace
}  // namespace lamina::schema
