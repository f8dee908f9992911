/**
 * RCS keywords, as the server expands them on the way out. Pure; bytes as latin-1 text.
 *
 * The digest of a revision with keywords is that of the expanded text, in which the depot
 * file and revision of that very row stand: two lazy copies of one archive differ.
 *
 * @module
 */

/** What stands in the keywords of one revision. */
export interface KeywordFacts {
  readonly depotFile: string;
  readonly depotRev: number;
  readonly change: number;
}

/** Keywords that +ko expands. */
const KO = /\$(Id|Header)(?::[^$\n]*)?\$/g;

/** Keywords that +k expands and whose value the row alone gives. */
const K = /\$(Id|Header|Change|File|Revision)(?::[^$\n]*)?\$/g;

/** Those that need the user table or the server's time zone. */
const K_UNKNOWN =
  /\$(?:Author|Date|DateUTC|DateTime|DateTimeUTC|DateTimeTZ)(?::[^$\n]*)?\$/;

/** Whatever any version might expand. */
const ANY = /\$[A-Za-z]+(?::[^$\n]*)?\$/;

/** Whether a text may be another one for a client. */
export function mayHoldKeywords(text: string): boolean {
  return ANY.test(text);
}

/** The text as a client gets it, by +ko. */
export function expandKo(text: string, facts: KeywordFacts): string {
  return text.replace(KO, (_, name: string) => valueOf(name, facts));
}

/** The text as a client gets it, by +k; null where a value cannot be known offline. */
export function expandK(text: string, facts: KeywordFacts): string | null {
  if (K_UNKNOWN.test(text)) return null;
  return text.replace(K, (_, name: string) => valueOf(name, facts));
}

function valueOf(name: string, facts: KeywordFacts): string {
  switch (name) {
    case "Change":
      return `$Change: ${facts.change} $`;
    case "File":
      return `$File: ${facts.depotFile} $`;
    case "Revision":
      return `$Revision: #${facts.depotRev} $`;
    default:
      return `$${name}: ${facts.depotFile}#${facts.depotRev} $`;
  }
}
