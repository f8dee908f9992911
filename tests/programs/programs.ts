/**
 * The programs, and what they do. A step is a shell script; between two steps everything is
 * evicted. What a program prints of the clock or of chance goes through `hides`.
 *
 * @module
 */

export interface Program {
  readonly name: string;
  /** What must be installed. */
  readonly needs: string;
  readonly steps: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What differs between any two runs, each with what it is replaced by. */
  readonly hides?: readonly (readonly [RegExp, string])[];
  /** Lines that may differ, each with the rule of docs/semantics.md that says so. */
  readonly mayDiffer?: readonly (readonly [RegExp, string])[];
}

const rcs: Program = {
  name: "GNU RCS: ci, co, rlog, rcsdiff",
  needs: "ci",
  steps: [
    "for i in 1 2 3 4 5 6; do echo revision $i >> jam.c; " +
    'ci -q -f -l -wjam -d"2014-05-1$i 16:53:20Z" -t-jam -mchange$i jam.c $DEPOT/jam.c,v; done',
    "co -q -p1.2 $DEPOT/jam.c,v; co -q -p $DEPOT/jam.c,v",
    "rlog $DEPOT/jam.c,v",
    "rcsdiff -q -r1.1 -r1.5 $DEPOT/jam.c,v; [ $? = 1 ]",
    "echo revision 7 >> jam.c; " +
    "ci -q -f -u -wjam '-d2014-05-17 16:53:20Z' -mchange7 jam.c $DEPOT/jam.c,v",
    "for i in 1 2 3 4 5 6 7; do co -q -p1.$i $DEPOT/jam.c,v; done; rlog -h $DEPOT/jam.c,v",
    "rcs -q -nLABEL:1.3 $DEPOT/jam.c,v; rcs -q -o1.2 $DEPOT/jam.c,v; rlog -h $DEPOT/jam.c,v",
    "co -q -p -rLABEL $DEPOT/jam.c,v",
  ],
};

const cvs: Program = {
  name: "CVS: init, import, commit, checkout, annotate, tag",
  needs: "cvs",
  // Its own user: root may not commit.
  env: { LOGNAME: "nobody", CVSREAD: "", CVSUMASK: "002" },
  steps: [
    "cvs -d $DEPOT/cvs init && ls $DEPOT/cvs/CVSROOT",
    "mkdir work && cd work && for i in 1 2 3 4; do mkdir -p d$i; seq $i 200 > d$i/file$i; done; " +
    "cvs -Q -d $DEPOT/cvs import -m first project vendor start && " +
    "cvs -Q -d $DEPOT/cvs checkout -d ../co project",
    "cd co && for i in 1 2 3 4; do echo changed $i >> d$i/file$i; done; " +
    "cvs -q diff | grep '^[<>]'; cvs -Q commit -m second",
    "cd co && cvs -Q tag RELEASE_1 && seq 9 > d1/new && cvs -Q add d1/new && " +
    "cvs -Q rm -f d2/file2 && cvs -Q commit -m third; cvs -q log -S -N d1/new | grep -v ^date",
    "cvs -Q -d $DEPOT/cvs checkout -r RELEASE_1 -d old project && cat old/d*/file* | sha256sum",
    "cd co && cvs -q annotate d3/file3 | tail -n 2; cvs -q update -A; cvs -q status d4/file4",
    "cvs -Q -d $DEPOT/cvs rtag -b -r RELEASE_1 BRANCH project && " +
    "cvs -Q -d $DEPOT/cvs checkout -r BRANCH -d branch project && cd branch && " +
    "echo on the branch >> d2/file2 && cvs -Q commit -m fourth && cvs -q log -h d2/file2",
  ],
  hides: [
    [/\d\d-\w{3}-\d\d\b/g, "DATE"],
    [/\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d( [-+]\d{4})?/g, "DATE"],
    [/(commitid:?|Commit Identifier:)\s+\w+/g, "COMMIT"],
    // A log of times and processes.
    [/^cvs\/CVSROOT\/(history|val-tags) .*$/gm, "$1"],
    [/tmp\/\w+/g, "TEMPORARY"],
  ],
};

const GIT = "git -c user.name=a -c user.email=a@example.com -c init.defaultBranch=main " +
  "-c pack.threads=1 -c safe.directory='*'";

const git: Program = {
  name: "git: init, push, clone, gc and fsck of a bare repository",
  needs: "git",
  env: {
    GIT_AUTHOR_DATE: "@1400000000 +0000",
    GIT_COMMITTER_DATE: "@1400000000 +0000",
    GIT_CONFIG_COUNT: "2",
    GIT_CONFIG_KEY_0: "safe.directory",
    GIT_CONFIG_VALUE_0: "*",
    GIT_CONFIG_KEY_1: "pack.threads",
    GIT_CONFIG_VALUE_1: "1",
  },
  steps: [
    `${GIT} init -q --bare $DEPOT/bare.git`,
    `${GIT} init -q work && cd work && for i in 1 2 3 4 5 6; do seq $i 3000 > file$i; ` +
    `${GIT} add . && ${GIT} commit -q -m commit$i; done; ` +
    `${GIT} push -q $DEPOT/bare.git main`,
    `${GIT} -C $DEPOT/bare.git fsck --full && ${GIT} -C $DEPOT/bare.git log --stat`,
    // Links its files and compares inodes: docs/semantics.md.
    `P4CACHE_STAT=restore ${GIT} clone -q $DEPOT/bare.git clone && cat clone/file* | sha256sum`,
    `${GIT} -C $DEPOT/bare.git gc -q --prune=now && find $DEPOT/bare.git -type f | sort`,
    `${GIT} -C $DEPOT/bare.git fsck --full --strict && ${GIT} -C $DEPOT/bare.git count-objects -v`,
    `cd work && ${GIT} checkout -q -b side && echo more >> file3 && ${GIT} commit -qam side && ` +
    `${GIT} push -q $DEPOT/bare.git side && ${GIT} -C $DEPOT/bare.git branch -v`,
    `${GIT} clone -q --no-local -b side $DEPOT/bare.git again && cat again/file* | sha256sum`,
    `${GIT} -C $DEPOT/bare.git repack -q -a -d -f && ${GIT} -C $DEPOT/bare.git fsck --full`,
  ],
};

const TREE = "for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do " +
  "mkdir -p $DEPOT/tree/d$((i % 4)); f=$DEPOT/tree/d$((i % 4))/file$i; " +
  "seq 1 $((i * 700)) > $f; chmod $((640 + i % 2)) $f; touch -d @$((1400000000 + i)) $f; done; " +
  "ln -s d1/file5 $DEPOT/tree/link; touch -h -d @1400000000 $DEPOT/tree/link; for i in 0 1 2 3; do touch -d @1400000000 $DEPOT/tree/d$i; done; " +
  "touch -d @1400000000 $DEPOT/tree";

const rsync: Program = {
  name: "rsync, out of the depot and into it",
  needs: "rsync",
  steps: [
    TREE,
    "rsync -a --omit-dir-times $DEPOT/tree/ copy && cd copy && " +
    "find . -type f -printf '%P %s %m %T@\\n' | sort",
    "rsync -ani --omit-dir-times --checksum $DEPOT/tree/ copy",
    "rsync -ani --omit-dir-times copy/ $DEPOT/tree",
    "for f in 1 5 9; do echo more >> copy/d1/file$f; touch -d @1500000000 copy/d1/file$f; done; " +
    "rsync -ai --omit-dir-times --inplace copy/ $DEPOT/tree",
    "echo less > copy/d2/file2; touch -d @1500000001 copy/d2/file2; rm copy/d3/file3; " +
    "rsync -ai --omit-dir-times --delete copy/ $DEPOT/tree",
    "rsync -a --omit-dir-times $DEPOT/tree/ $DEPOT/second && " +
    "cd $DEPOT/second && find . -type f -printf '%P %s %m %T@\\n' | sort",
  ],
};

const tar: Program = {
  name: "tar, out of the depot and into it",
  needs: "tar",
  steps: [
    TREE,
    // Status 1 is a directory whose ctime a restore changed: docs/semantics.md.
    "tar -C $DEPOT --warning=no-file-changed --sort=name --mtime=@1 -cf a.tar tree; [ $? -le 1 ] && " +
    "sha256sum < a.tar",
    "tar -C $DEPOT -df a.tar 2>&1 | grep -v 'Mod time' | sort",
    "mkdir $DEPOT/again && tar -C $DEPOT/again -xf a.tar && ls -R $DEPOT/again",
    "tar -C $DEPOT/again -cf - --warning=no-file-changed --sort=name --mtime=@1 . | sha256sum",
    "tar -C $DEPOT/again --overwrite -xf a.tar && " +
    "tar -C $DEPOT/again --unlink-first -xf a.tar tree/d1/file5 tree/d2/file6 && " +
    "find $DEPOT/again -type f -size +10k | sort",
  ],
};

const cp: Program = {
  name: "cp -a (P4CACHE_STAT=restore), cp -r --update, mv, install",
  needs: "cp",
  env: { P4CACHE_STAT: "restore" },
  steps: [
    TREE,
    "cp -a $DEPOT/tree copy && cd copy && find . -printf '%P %s %m %T@ %l\\n' | grep -v '^d[0-9] ' | " +
    "grep -v '^ ' | sort",
    "cp -a $DEPOT/tree $DEPOT/second && diff -r $DEPOT/tree $DEPOT/second && echo same",
    "echo new > copy/d1/file5; cp -r --update copy/. $DEPOT/tree && cat $DEPOT/tree/d1/file5",
    "mv $DEPOT/second/d2 out && find out -type f | sort | xargs sha256sum",
    "mv out $DEPOT/second/back && ls -l $DEPOT/second/back | awk '{ print $1, $5, $9 }' | grep -v total",
    "install -m 600 $DEPOT/tree/d3/file7 $DEPOT/installed && sha256sum < $DEPOT/installed",
  ],
};

const find: Program = {
  name: "find, ls, du, grep, sha256sum, wc, diff, sort, sed -i, rm",
  needs: "find",
  steps: [
    TREE,
    "find $DEPOT/tree -type f -size +20k | sort; find $DEPOT/tree -type s; " +
    "find $DEPOT/tree -newermt @1400000010 -type f -printf '%P %s %y %m %T@\\n' | sort",
    "ls -lR --time-style=+%s $DEPOT/tree | grep -v -e ^total -e ' d[0-3]$'; " +
    "stat -c '%n %s %a %F %Y' $DEPOT/tree/*/* | sort",
    "grep -rlx 4000 $DEPOT/tree | sort; find $DEPOT/tree -type f | sort | xargs sha256sum",
    "wc -l $DEPOT/tree/*/file?; diff $DEPOT/tree/d1/file1 $DEPOT/tree/d1/file5 | tail -n 1",
    "sort -n -r $DEPOT/tree/d3/file3 -o $DEPOT/tree/d3/file3 && head -n 2 $DEPOT/tree/d3/file3",
    "sed -i s/7/seven/ $DEPOT/tree/d2/file6 && tail -n 2 $DEPOT/tree/d2/file6",
    "truncate -s 100 $DEPOT/tree/d0/file8 && dd if=/dev/zero of=$DEPOT/tree/d0/file4 bs=1 count=9 " +
    "seek=50 conv=notrunc status=none; sha256sum $DEPOT/tree/d0/file[48]",
    "find $DEPOT/tree -name 'file1?' -delete; rm -r $DEPOT/tree/d1 && find $DEPOT/tree | sort",
  ],
};

const sqlite: Program = {
  name: "sqlite3: a database that was evicted, read and written",
  needs: "sqlite3",
  steps: [
    "sqlite3 $DEPOT/data.sqlite 'create table t(a integer primary key, b text); " +
    "with recursive c(i) as (select 1 union all select i + 1 from c where i < 20000) " +
    'insert into t select i, printf("row %d", i) from c;\'',
    "sqlite3 $DEPOT/data.sqlite 'select count(*), sum(a), max(b) from t; pragma integrity_check;'",
    'sqlite3 $DEPOT/data.sqlite \'update t set b = b || "!" where a % 7 = 0; ' +
    "delete from t where a % 3 = 0; select count(*), sum(a) from t;'",
    "sqlite3 $DEPOT/data.sqlite 'create index i on t(b); vacuum; pragma integrity_check;'",
    'sqlite3 $DEPOT/data.sqlite \'pragma journal_mode=wal; insert into t values (-1, "wal"); ' +
    'select * from t where b = "wal";\'',
    "for i in 1 2 3 4; do sqlite3 -cmd '.timeout 60000' $DEPOT/data.sqlite " +
    "'insert into t(b) select b from t limit 500;' & done; wait; " +
    "sqlite3 $DEPOT/data.sqlite 'select count(*) from t; pragma integrity_check;'",
    "sqlite3 -readonly $DEPOT/data.sqlite .dump | sha256sum",
  ],
};

const nginx: Program = {
  name: "nginx serves evicted files",
  needs: "nginx",
  steps: [
    TREE,
    `mkdir temp; cat > nginx.conf <<END
user root; worker_processes 2; pid $OUT/nginx.pid; error_log $OUT/error.log; daemon on;
events {}
http {
  access_log off; client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp; sendfile on;
  server { listen unix:$OUT/nginx.sock; root $DEPOT/tree; autoindex on; }
}
END
nginx -p $OUT -c $OUT/nginx.conf && echo started`,
    "/usr/bin/python3 $HERE/fetch.py $OUT/nginx.sock $(cd $DEPOT/tree && find . -type f | sort | cut -c2-)",
    "/usr/bin/python3 $HERE/fetch.py $OUT/nginx.sock /d1/file9 /link /none /d2/",
    "for i in 1 2 3 4 5 6 7 8; do " +
    "/usr/bin/python3 $HERE/fetch.py $OUT/nginx.sock /d3/file19 /d3/file15 > fetched$i & done; wait; " +
    "cat fetched? | sort | uniq -c; ! grep -v -e /none error.log",
    "nginx -p $OUT -c $OUT/nginx.conf -s quit 2> quit; while [ -e $OUT/nginx.pid ]; do sleep 0.05; done",
  ],
};

const MMAP = `import hashlib, mmap, os, sys
for directory, names, files in os.walk(os.environ["DEPOT"] + "/tree"):
    names.sort()
    for name in sorted(files):
        path = os.path.join(directory, name)
        if os.path.islink(path) or os.path.getsize(path) == 0: continue
        with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
            assert len(m) == os.fstat(f.fileno()).st_size == os.stat(path).st_size
            print(name, len(m), hashlib.sha256(m[:]).hexdigest()[:16])
            m[0:1] = sys.argv[1].encode()
            m.flush()`;

const mmap: Program = {
  name: "python: mmap of evicted files, shared and written",
  needs: "/usr/bin/python3",
  steps: [
    TREE,
    ...["a", "b", "c"].map((byte) => `/usr/bin/python3 -c '${MMAP}' ${byte}`),
  ],
};

/** A module of Python's own tests, its working directory in the depot. */
function suite(module: string): Program {
  return {
    name: `python: ${module}`,
    needs: "/usr/bin/python3",
    steps: [
      `mkdir -p $DEPOT/work $DEPOT/temporary; cd $DEPOT/work; TMPDIR=$DEPOT/temporary ` +
      `/usr/bin/python3 $HERE/suite.py ${module} 2> $OUT/stderr; cp ${module}.failures $OUT; ` +
      `rm ${module}.failures`,
    ],
    mayDiffer: [[
      /\bUtimeTests\.test_utime(_\w+)?$/,
      "they read back the atime that they set: it is the size of a marker",
    ]],
  };
}

export const PROGRAMS: readonly Program[] = [
  rcs,
  cvs,
  git,
  rsync,
  tar,
  cp,
  find,
  sqlite,
  nginx,
  mmap,
  ...["test_os", "test_posix", "test_shutil", "test_pathlib", "test_mmap", "test_tarfile"]
    .map(suite),
];
