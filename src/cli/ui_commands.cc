#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "cli/command_line.h"
#include "cli/output.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "os/file.h"
#include "ui/report.h"
#include "ui/server.h"

namespace lamina::cli {
namespace {

constexpr const char* kUiFooter =
    "Prints the URL of a page with the store's snapshots, their memory, and what the\n"
    "daemon does, and serves it until ^C. The page only reads, unless --allow-actions\n"
    "is given: then it can remove snapshots and merge layers. The URL has a secret:\n"
    "who has it can see (and remove) what you can. With --store the store's daemon is\n"
    "asked too, if one runs. From another machine, forward the port: ssh -L.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 5 busy (the port).";

constexpr const char* kReportFooter =
    "Writes the pages of 'lamina ui' into one HTML file, which needs no network. Of a\n"
    "store, the snapshots with the most bytes of their own are shown with their\n"
    "memory; all are listed. An existing file is replaced.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 6 no space.";

constexpr std::uint32_t kMaxShown = 1000;

int run_ui(ui::ServerOptions options) {
  options.ready = [](const std::string& url) {
    print_text("{}\n", url);
    std::fflush(stdout);
  };
  const Status served = ui::serve_console(options);
  return served ? kExitDone : report_error(served.error(), false);
}

struct ReportArguments {
  ui::ReportOptions options;
  std::string output;
};

/// Replaces `path` with a complete file, or leaves it as it is.
Status write_output(const std::string& path, const std::string& text) {
  const std::string fresh = path + "." + Uuid::random().to_string();
  const auto bytes = std::as_bytes(std::span(text));
  Status written = os::write_new_file(AT_FDCWD, fresh, bytes, path);
  if (written) written = os::rename_over(AT_FDCWD, fresh, AT_FDCWD, path, path);
  if (!written) static_cast<void>(os::remove_file(AT_FDCWD, fresh, fresh));
  return written;
}

int run_report(const ReportArguments& arguments) {
  const auto report = ui::make_report(arguments.options);
  if (!report) return report_error(report.error(), false);
  const Status written = write_output(arguments.output, report->html);
  if (!written) return report_error(written.error(), false);
  print_text("{}: {}, {} with memory, {}\n", arguments.output, count_of(report->listed, "snapshot"),
             report->snapshots, human_bytes(report->html.size()));
  return kExitDone;
}

}  // namespace

Action add_ui(CLI::App& app) {
  auto options = std::make_shared<ui::ServerOptions>();
  CLI::App* verb = add_verb(app, "ui", "serve a page that shows a store", kUiFooter);
  add_text(verb, "--store", options->store, "directory of the store", "DIR");
  add_text(verb, "--socket", options->socket, "socket of a daemon, instead of --store", "PATH");
  add_text(verb, "--listen", options->listen, "where to listen (default 127.0.0.1:0)",
           "ADDRESS:PORT");
  verb->add_flag("--allow-actions", options->allow_actions,
                 "the page can remove snapshots and merge layers");
  return [options] { return run_ui(*options); };
}

Action add_report(CLI::App& app) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* verb = add_verb(app, "report", "write a page about a snapshot or store", kReportFooter);
  add_text(verb, "SNAPSHOT|STORE", arguments->options.path, "a snapshot, or a store")->required();
  add_text(verb, "--output,-o", arguments->output, "the file to write", "FILE")->required();
  verb->add_option("--snapshots", arguments->options.snapshots,
                   "snapshots to show with memory (default 20)")
      ->check(CLI::Range(std::uint32_t{0}, kMaxShown))
      ->type_name("")
      ->option_text("N");
  return [arguments] { return run_report(*arguments); };
}

}  // namespace lamina::cli
