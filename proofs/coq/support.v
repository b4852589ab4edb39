(* A hard mask is a deletion. Minimising over coefficient vectors that vanish
   off a support is the same problem as minimising over the shorter vectors
   that hold the coefficients on the support only, with the columns of the
   other regulators deleted from the design. *)
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Support.
Variables (R : realDomainType) (q : nat) (S : {set 'I_q}).

Definition supported (theta : 'cV[R]_q) : Prop := forall j, j \notin S -> theta j 0 = 0.

(* coefficients on the support, in the order of the regulators *)
Definition restrict (theta : 'cV[R]_q) : 'cV[R]_#|S| := \col_k theta (enum_val k) 0.

(* zeros put back off the support *)
Definition embed (b : 'cV[R]_#|S|) : 'cV[R]_q :=
  \col_j \sum_(k < #|S|) (if enum_val k == j then b k 0 else 0).

(* the design without the columns of deleted regulators *)
Definition delete n (X : 'M[R]_(n, q)) : 'M[R]_(n, #|S|) :=
  \matrix_(i, k) X i (enum_val k).

Lemma embed_on b k : embed b (enum_val k) 0 = b k 0.
Proof.
rewrite mxE (bigD1 k) //= eqxx big1 ?addr0 // => l lk.
by case: eqP => // /enum_val_inj e; rewrite e eqxx in lk.
Qed.

Theorem embed_supported b : supported (embed b).
Proof.
move=> j jS; rewrite mxE big1 // => k _; case: eqP => // e.
by move: jS; rewrite -e enum_valP.
Qed.

Theorem restrict_embed b : restrict (embed b) = b.
Proof. by apply/colP => k; rewrite mxE embed_on. Qed.

Lemma in_support j : j \in S -> exists k : 'I_#|S|, enum_val k = j.
Proof. by move=> jS; exists (enum_rank_in jS j); rewrite enum_rankK_in. Qed.

Theorem embed_restrict theta : supported theta -> embed (restrict theta) = theta.
Proof.
move=> st; apply/colP => j; have [jS|jS] := boolP (j \in S).
- by have [k <-] := in_support jS; rewrite embed_on mxE.
- by rewrite embed_supported // st.
Qed.

(* sums over the support are sums over the kept regulators *)
Lemma sum_kept (F : 'I_q -> R) :
  (forall j, j \notin S -> F j = 0) -> \sum_j F j = \sum_(k < #|S|) F (enum_val k).
Proof.
move=> F0; rewrite (bigID (mem S)) /= [X in _ + X]big1 ?addr0 //.
by rewrite -big_enum_val.
Qed.

Theorem delete_embed n (X : 'M[R]_(n, q)) b : X *m embed b = delete X *m b.
Proof.
apply/colP => i; rewrite !mxE sum_kept; last first.
  by move=> j jS; rewrite embed_supported ?mulr0.
by apply: eq_bigr => k _; rewrite embed_on mxE.
Qed.

Theorem penalty_embed (r : 'I_q -> R -> R) b : (forall j, r j 0 = 0) ->
  \sum_j r j (embed b j 0) = \sum_(k < #|S|) r (enum_val k) (b k 0).
Proof.
move=> r0; rewrite sum_kept; last by move=> j jS; rewrite embed_supported.
by apply: eq_bigr => k _; rewrite embed_on.
Qed.

(* any objective: the mask and the deletion are strongly equivalent *)
Theorem support_is_deletion (f : 'cV[R]_q -> R) :
  equivalent supported f (@free _) (f \o embed) restrict embed.
Proof.
split=> //= x h; first by rewrite embed_restrict.
exact: embed_supported.
Qed.

Theorem support_argmin (f : 'cV[R]_q -> R) theta :
  argmin supported f theta <->
  supported theta /\ argmin (@free _) (f \o embed) (restrict theta).
Proof.
have e := support_is_deletion f; split=> [h|[st h]].
- by split; [case: h | have [] := equivalent_argmin e h].
- by have [] := equivalent_argmin (equivalent_sym e) h; rewrite embed_restrict.
Qed.

(* a regression: any loss of the fitted values, any separable penalty that is
   0 at 0. The deleted problem is the same regression on the kept columns. *)
Section Regression.
Variables (n : nat) (X : 'M[R]_(n, q)) (loss : 'cV[R]_n -> R) (r : 'I_q -> R -> R).
Hypothesis r0 : forall j, r j 0 = 0.

Definition regression (theta : 'cV[R]_q) : R :=
  loss (X *m theta) + \sum_j r j (theta j 0).
Definition deleted (b : 'cV[R]_#|S|) : R :=
  loss (delete X *m b) + \sum_(k < #|S|) r (enum_val k) (b k 0).

Theorem regression_embed b : regression (embed b) = deleted b.
Proof. by rewrite /regression delete_embed penalty_embed. Qed.

Theorem masked_regression_is_deletion theta :
  argmin supported regression theta <->
  supported theta /\ argmin (@free _) deleted (restrict theta).
Proof.
rewrite support_argmin.
have e := @argmin_ext R _ (@free _) (regression \o embed) deleted (restrict theta)
            (fun b _ => regression_embed b).
by split=> -[st h]; split=> //; apply/e.
Qed.

End Regression.
End Support.
