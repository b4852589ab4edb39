# awk -f axioms.awk FOLDER/assumptions.v FOLDER/axioms FOLDER.log: what each theorem rests on, and a
# summary. Fails where a theorem rests on an axiom that FOLDER/axioms does not name (without such a
# file: on any), where that file names one on which no theorem rests, or where theorems are missing.
FILENAME == ARGV[1] && /^Print Assumptions .*\.$/ { sub(/\.$/, "", $3); theorem[++listed] = $3 }
FILENAME == ARGV[2] && !/^#/ && NF { allowed[$1]; axioms++ }
FILENAME != ARGV[3] { next }
/^Closed under the global context$/ { rests[++printed] = "no axiom"; next }
/^Axioms:$/ { rests[++printed] = ""; next }
/^[A-Za-z_]/ { # a name; its type follows, indented or behind a colon
    rests[printed] = rests[printed] (rests[printed] ? ", " : "") $1
    used[$1]
    if (!($1 in allowed)) wrong = "an axiom that is not allowed: " $1
}
END {
    for (k = 1; k <= printed; k++) print theorem[k] ": " rests[k]
    folder = ARGV[1]
    sub(/\/.*/, "", folder)
    print folder ": " listed " theorems, " axioms + 0 " axioms"
    for (name in allowed) if (!(name in used)) wrong = "no theorem rests on " name
    if (printed != listed) wrong = "listed are " listed " theorems, printed " printed + 0
    if (wrong) { print folder ": " wrong > "/dev/stderr"; exit 1 }
}
