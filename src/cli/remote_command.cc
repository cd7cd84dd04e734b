#include <fmt/format.h>

#include <memory>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/remote.h"

namespace lamina::cli {
namespace {

constexpr const char* kCheckFooter =
    "Tries whether an object store does what lamina needs: writes some\n"
    "20 MiB below the prefix probe/, and removes them.\n\n"
    "URL: s3://BUCKET[/PREFIX][?OPTION=VALUE&...] or file:///DIRECTORY. Options:\n"
    "endpoint (https://HOST[:PORT]; AWS otherwise), region, path_style (true or\n"
    "false), ca_file (PEM), profile. Credentials come from the environment, the\n"
    "shared files, a web identity, the container or the instance, as with AWS'\n"
    "own tools; never from the URL.\n\n"
    "Exit codes: 0 the store can be used, 1 it cannot, 2 usage, 3 not found,\n"
    "130 interrupted.";

struct RemoteCheckArguments {
  std::string url;
  bool json = false;
};

nlohmann::ordered_json checks_json(const std::vector<RemoteCheck>& checks) {
  auto list = nlohmann::ordered_json::array();
  for (const RemoteCheck& check : checks) {
    list.push_back({{"name", check.name},
                    {"meaning", check.meaning},
                    {"passed", check.passed},
                    {"detail", check.detail}});
  }
  return list;
}

void print_report_json(const RemoteCheckReport& report) {
  nlohmann::ordered_json json = {
      {"message_type", "remote_check"}, {"store", report.store},
      {"usable", report.is_usable()},   {"checks", checks_json(report.checks)},
      {"clock_difference_s", nullptr},  {"left_behind", report.left_behind}};
  if (report.clock_difference_s) json["clock_difference_s"] = *report.clock_difference_s;
  print_json(json);
}

void print_report(const RemoteCheckReport& report) {
  print_text("{}: {}\n", report.store, report.is_usable() ? "can be used" : "CANNOT be used");
  for (const RemoteCheck& check : report.checks) {
    print_text("  {:<6} {}\n", check.passed ? "good" : "BAD", check.meaning);
    if (!check.passed) print_text("         {}\n", check.detail);
  }
  if (report.clock_difference_s) {
    print_text("  its clock less this host's: {} s\n", *report.clock_difference_s);
  }
  for (const std::string& name : report.left_behind) print_text("  left behind: {}\n", name);
}

int run_check(const RemoteCheckArguments& arguments) {
  ProgressBar progress;  // for its interruption: an interrupted trial removes its objects
  const auto report = check_remote(arguments.url, &progress);
  if (!report) return report_error(report.error(), arguments.json);
  if (arguments.json) {
    print_report_json(*report);
  } else {
    print_report(*report);
  }
  return report->is_usable() ? kExitDone : kExitFailed;
}

}  // namespace

Action add_remote_check(CLI::App& app) {
  auto arguments = std::make_shared<RemoteCheckArguments>();
  CLI::App* verb = add_verb(app, "remote-check", "try whether a bucket can be used", kCheckFooter);
  add_text(verb, "URL", arguments->url, "the bucket: s3://... or file:///...")->required();
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_check(*arguments); };
}

}  // namespace lamina::cli
