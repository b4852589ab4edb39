(* A bootstrap sample is a weighting. N draws with replacement from n rows
   give every row a count; a sum over the drawn rows is the sum over all rows
   weighted by their counts, so a fit to the drawn rows is a weighted fit. *)
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Bootstrap.
Variables (R : realDomainType) (N n : nat) (draw : 'I_N -> 'I_n).

Definition drawn (i : 'I_n) : nat := #|[set k | draw k == i]|.

Theorem bootstrap_is_a_weighting (f : 'I_n -> R) :
  \sum_(k < N) f (draw k) = \sum_(i < n) (drawn i)%:R * f i.
Proof.
rewrite (partition_big draw xpredT) //=; apply: eq_bigr => i _.
rewrite (eq_bigr (fun=> f i)); last by move=> k /eqP ->.
by rewrite sumr_const mulr_natl /drawn cardsE.
Qed.

Theorem drawn_total : (\sum_(i < n) drawn i)%N = N.
Proof.
rewrite -[RHS]card_ord -sum1_card (partition_big draw xpredT) //=.
by apply: eq_bigr => i _; rewrite sum1_card /drawn cardsE.
Qed.

(* any fit by a sum over rows: least squares is l i theta = (y_i - x_i theta)^2 *)
Theorem bootstrap_argmin (T : Type) (C : T -> Prop) (l : 'I_n -> T -> R)
    (pen : T -> R) theta :
  argmin C (fun t => \sum_(k < N) l (draw k) t + pen t) theta <->
  argmin C (fun t => \sum_(i < n) (drawn i)%:R * l i t + pen t) theta.
Proof.
by apply: argmin_ext => t _; rewrite (bootstrap_is_a_weighting (fun i => l i t)).
Qed.

End Bootstrap.
