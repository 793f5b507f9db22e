/* lamina's own words: one line each on stderr, never on the guest's console. */
#ifndef LM_BASE_LOG_H
#define LM_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped. Set once, before threads start. Default LOG_WARN. */
extern enum log_level log_level;

/* Prints "lamina: ..." and a newline; control characters become question marks. May be called from any thread. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * For what the guest can cause: prints only the first time this place is reached, so that a
 * hostile guest cannot fill the log.
 */
#define log_guest_once(...)                                                                        \
	do {                                                                                       \
		static _Bool done_;                                                                \
		if (!__atomic_exchange_n(&done_, 1, __ATOMIC_RELAXED))                             \
			log_line(LOG_INFO, __VA_ARGS__);                                           \
	} while (0)

#endif
