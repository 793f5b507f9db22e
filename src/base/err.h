/*
 * Errors of the first kind: the host or the user failed us.
 *
 * A function that can fail so returns 0 or a negative errno and takes a caller-owned
 * `struct lm_err *err` (last parameter, NULL allowed) that collects context on the way up,
 * outermost first. It is printed once, in main. No function logs and returns.
 */
#ifndef LM_BASE_ERR_H
#define LM_BASE_ERR_H

struct lm_err {
	int code; /* negative errno of the root cause */
	char text[480];
};

/* Sets the root cause. `code` is a negative errno; returns it. */
int lm_err_set(struct lm_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Like lm_err_set, and appends ": " and strerror of the code. */
int lm_err_errno(struct lm_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of what err holds; returns err->code (or -EIO for NULL). */
int lm_err_wrap(struct lm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
