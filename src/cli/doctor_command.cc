#include <fmt/format.h>

#include <memory>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/doctor.h"

namespace lamina::cli {
namespace {

constexpr const char* kDoctorFooter =
    "Tries what a store needs with files in DIRECTORY, and removes them.\n\n"
    "Exit codes: 0 a store can be kept here, 1 it cannot, 2 usage, 3 not found,\n"
    "6 no space to try it, 130 interrupted.";

struct DoctorArguments {
  std::string directory;
  bool json = false;
};

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "good";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kBad:
      return "bad";
  }
  return "bad";
}

nlohmann::ordered_json findings_json(const std::vector<Finding>& findings) {
  auto list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"subject", finding.subject},
                    {"verdict", verdict_name(finding.verdict)},
                    {"detail", finding.detail}});
  }
  return list;
}

void print_findings(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    print_text("  {:<12} {:<8} {}\n", finding.subject, verdict_name(finding.verdict),
               finding.detail);
  }
}

int run(const DoctorArguments& arguments) {
  ProgressBar progress;  // for its interruption: interrupted trials remove their files
  const auto report = examine(arguments.directory, &progress);
  if (!report) return report_error(report.error(), arguments.json);
  if (arguments.json) {
    print_json({{"message_type", "doctor"},
                {"directory", report->directory},
                {"usable", report->is_usable()},
                {"file_system", findings_json(report->file_system)},
                {"machine", findings_json(report->machine)}});
  } else {
    print_text("{}: {}\n", report->directory,
               report->is_usable() ? "a store can be kept here" : "NOT usable as a store");
    print_findings(report->file_system);
    print_text("this machine:\n");
    print_findings(report->machine);
  }
  return report->is_usable() ? kExitDone : kExitFailed;
}

}  // namespace

Action add_doctor(CLI::App& app) {
  auto arguments = std::make_shared<DoctorArguments>();
  CLI::App* verb =
      add_verb(app, "doctor", "show what a directory and this machine can do", kDoctorFooter);
  add_text(verb, "DIRECTORY", arguments->directory, "a store, or a directory for one")->required();
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
