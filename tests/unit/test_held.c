/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_held.c - notes that have to wait, and in which order. */
#include "tests/harness.h"
#include "wal/held.h"
#include "wal/notes.h"

static struct database a_database(void)
{
    return (struct database){.view.state = DATABASE_ATTACHED};
}

#define DATABASE(name)                                                         \
    struct database name = a_database();                                       \
    list_init(&(name).held)

/* Comes in; true: it has to wait. */
static bool comes(struct database *database, enum note_kind kind)
{
    struct note *note = note_new(kind);
    bool waits = held_take(database, note);

    if (!waits)
        note_free(note);
    return waits;
}

/* Which one is let go of; -1: none. */
static int goes(struct database *database)
{
    struct note *note = held_next(database);
    int kind = note == NULL ? -1 : (int)note->kind;

    note_free(note);
    return kind;
}

TEST(content_waits_for_a_closing_checkpoint_and_goes_in_its_order)
{
    static const enum note_kind kinds[] = {NOTE_OFFER, NOTE_COPY_BEGIN,
                                           NOTE_COPY_CHUNK, NOTE_COPY_END};
    DATABASE(database);

    EXPECT_FALSE(comes(&database, NOTE_OFFER));
    database.apply.hold = true;
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_TRUE(comes(&database, kinds[i]));
    EXPECT_EQ(goes(&database), -1);
    database.apply.hold = false;
    /* What comes now is newer than what waits. */
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_EQ(goes(&database), (int)kinds[i]);
    EXPECT_EQ(goes(&database), NOTE_OFFER);
    EXPECT_EQ(goes(&database), -1);
    EXPECT_FALSE(comes(&database, NOTE_OFFER));
}

TEST(a_hold_that_begins_again_stops_what_still_waits)
{
    DATABASE(database);

    database.apply.hold = true;
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    database.apply.hold = false;
    EXPECT_EQ(goes(&database), NOTE_OFFER);
    database.apply.hold = true;
    EXPECT_EQ(goes(&database), -1);
    database.apply.hold = false;
    EXPECT_EQ(goes(&database), NOTE_OFFER);
}

TEST(what_is_said_about_content_waits_behind_it_and_not_alone)
{
    static const enum note_kind kinds[] = {NOTE_HISTORY, NOTE_COPY_ABANDON,
                                           NOTE_RESTART, NOTE_DROP};
    DATABASE(database);

    database.apply.hold = true;
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_FALSE(comes(&database, kinds[i]));
    EXPECT_TRUE(comes(&database, NOTE_COPY_BEGIN));
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_TRUE(comes(&database, kinds[i]));
    EXPECT_EQ(goes(&database), -1);
    database.apply.hold = false;
    EXPECT_EQ(goes(&database), NOTE_COPY_BEGIN);
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_EQ(goes(&database), (int)kinds[i]);
}

TEST(a_drop_waits_for_any_checkpoint_and_content_waits_behind_it)
{
    DATABASE(database);

    database.apply.checkpointing = true;
    EXPECT_FALSE(comes(&database, NOTE_OFFER));
    EXPECT_TRUE(comes(&database, NOTE_DROP));
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    EXPECT_EQ(goes(&database), -1);
    database.apply.checkpointing = false;
    EXPECT_EQ(goes(&database), NOTE_DROP);
    EXPECT_EQ(goes(&database), NOTE_OFFER);
}

TEST(all_waits_until_who_had_the_name_before_is_gone)
{
    struct database other = a_database();
    DATABASE(database);

    database.after = &other;
    EXPECT_TRUE(comes(&database, NOTE_HISTORY)); /* would make its files */
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    EXPECT_TRUE(comes(&database, NOTE_DROP));
    EXPECT_EQ(goes(&database), -1);
    database.after = NULL;
    EXPECT_EQ(goes(&database), NOTE_HISTORY);
    EXPECT_EQ(goes(&database), NOTE_OFFER);
    EXPECT_EQ(goes(&database), NOTE_DROP);
}

TEST(nothing_touches_a_database_that_is_held_back)
{
    DATABASE(database);

    database.view.state = DATABASE_HELD_BACK;
    EXPECT_TRUE(comes(&database, NOTE_RESTART));
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    EXPECT_TRUE(comes(&database, NOTE_DROP));
    EXPECT_FALSE(comes(&database, NOTE_OWNER));
    EXPECT_FALSE(comes(&database, NOTE_STOP));
    EXPECT_EQ(goes(&database), -1);
    database.view.state = DATABASE_CLOSED;
    EXPECT_EQ(goes(&database), NOTE_RESTART);
    EXPECT_EQ(goes(&database), NOTE_OFFER);
    EXPECT_EQ(goes(&database), NOTE_DROP);
}

TEST(the_end_of_a_checkpoint_and_of_the_node_never_wait)
{
    static const enum note_kind kinds[] = {NOTE_CHECKPOINTED, NOTE_STOP,
                                           NOTE_DETACH, NOTE_OWNER};
    DATABASE(database);

    database.apply.hold = database.apply.checkpointing = true;
    EXPECT_TRUE(comes(&database, NOTE_OFFER));
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
        EXPECT_FALSE(comes(&database, kinds[i]));
    database.apply.hold = false;
    EXPECT_EQ(goes(&database), NOTE_OFFER);
}
