#include "cmd/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "cmd/values.h"

#define REDRAW_NS INT64_C(100000000)
#define BAR_MAX	  40

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static unsigned bar_width(void)
{
	struct winsize ws = {0};
	int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col ? ws.ws_col : 80;

	return (unsigned)LM_MAX(0, LM_MIN(columns - 40, BAR_MAX));
}

static void draw(const struct progress *p, uint64_t done, uint64_t all)
{
	static const char full[] = "########################################";
	unsigned width = bar_width(), percent = (unsigned)(all ? done / (all / 100.0) : 100);
	unsigned filled = width * LM_MIN(percent, 100) / 100;

	fprintf(stderr, "\r%s [%.*s%*s] %3u%% %s of %s\033[K", p->what, (int)filled, full,
		(int)(width - filled), "", LM_MIN(percent, 100), size_format(done).text,
		size_format(all).text);
}

void progress_tell(void *progress, uint64_t done, uint64_t all)
{
	struct progress *p = progress;
	int64_t now = now_ns();

	if (!isatty(STDERR_FILENO) || now - p->last_ns < REDRAW_NS)
		return;
	p->last_ns = now;
	p->shown = true;
	draw(p, done, all);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
